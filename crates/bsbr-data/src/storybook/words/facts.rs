//! The values of facts. No other pool and no template contains them.

super::words! {
    /// Family names.
    SURNAMES = "
Velden Hartwick Morrowby Ashgrove Brandling Calloway Dunmore Eastlake Fairholm Garrick
Hollins Ingleby Jarrow Kestrel Lindqvist Marlowe Norwood Oakhurst Pemberton Quennell
Rathbone Selwyn Thornbury Underhill Vanterpool Wexford Yarrow Zeller Aldersey Blackwood
Cromarty Draycott Ellingham Farraday Goldring Hawksmoor Islington Jessop Kirkland Lockhart
Mansfield Netherby Ormond Pickering Quarles Ravensby Stockdale Tremaine Upshaw Voss
Whitlock Yeats Zimmer Ackerley Bramwell Coldstream Dunstan Everard Fothergill Greenhalgh
Holloway Ironside Jernigan Kingsley Lancaster Middlemas Nightingale Osgood Penhaligon
Radcliffe Sheridan Talbot Uppingham Vickers Wainwright Yardley Arkwright Beaumont
Carmichael Delacroix";
    /// Home towns.
    TOWNS = "
Odrin Brackwater Cindral Dovemouth Elmstead Farrowick Gildenport Hazelford Ivarby Jorvale
Kelmore Lowenbruck Marrowgate Northam Oxley Pellworth Quarrington Redmarsh Saltholme
Tarnwick Ulverby Vesterholt Wyndham Yewdale Zandvoort Ambergate Birchover Corvendale
Dunwich Eskmere Fallowfield Grimsey Harrowdene Inchmore Jubilee Kirriemuir Larkspur
Mistley Nettlecombe Otterburn Penrose Quillan Rookhope Silverdale Thistledown Ullapool
Varnholm Westerby Yarmund Zennor Aldwater Brindleford Cragfell Drumlin Everdeen Foxcombe
Glenmoor Hollowell Ironbridge Juniper";
    /// Trades.
    TRADES = "
weaver baker smith potter tanner cobbler tailor carpenter mason cooper fletcher miller
brewer butcher fisher sailor shepherd drover hunter trapper forester gardener beekeeper
glazier thatcher roofer plumber tinker clockmaker locksmith goldsmith jeweller engraver
printer binder scribe notary lawyer judge doctor surgeon nurse midwife apothecary chemist
teacher tutor scholar astronomer painter sculptor singer dancer juggler acrobat piper
drummer ferryman coachman postman porter innkeeper";
    /// Animals that a person has; none begins with a vowel.
    PETS = "
heron badger ferret falcon goose goat donkey pony parrot pigeon raven puffin sparrow rabbit
hare hedgehog squirrel marmot tortoise turtle lizard gecko newt toad salamander beetle
cricket moth hamster weasel stoat lynx fox hound terrier spaniel mastiff kitten hen rooster
peacock swan magpie jackdaw canary finch llama camel mule lamb";
    /// Things that a person keeps.
    KEEPSAKES = "
lantern compass locket brooch medal ribbon thimble whistle flute fiddle drum harp bell
mirror comb dagger sword shield helmet crown ring bracelet necklace pendant amulet talisman
statue figurine marble puppet doll kite telescope hourglass sundial globe atlas diary quill
inkwell scroll tapestry quilt shawl cloak gauntlet goblet chalice pitcher candlestick
snuffbox spyglass sceptre trumpet violin banner saddle horseshoe seashell feather";
    /// Places where a treasure lies; each goes with "in the".
    HIDES = "
attic cellar pantry chimney barn stable loft crypt chapel belfry cupboard wardrobe drawer
cabinet bureau trunk barrel hamper cistern fountain grotto cavern tunnel ditch hedge orchard
vineyard greenhouse shed kennel coop dovecote hayloft granary silo windmill sawmill smithy
forge kiln oven furnace hearth alcove gallery library study nursery parlour scullery larder
dungeon turret courtyard vestry boathouse lighthouse conservatory woodpile bathhouse";
}
