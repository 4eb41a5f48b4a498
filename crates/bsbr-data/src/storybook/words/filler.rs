//! All words except names and values of facts.

super::words! {
    /// Villages of datelines and journeys; never somebody's home.
    VILLAGES = "
Stonebridge Millbrook Oakfield Riverton Greenhill Whitecliff Longmeadow Deepwell Highmoor
Northgate Southbank Eastfold Westhaven Clearwater Goosecroft Fernley Appleby Barleyside
Coldharbour Sandwick Mossgrove Kingsferry Bellmarsh Heathfield";
    /// Things that are found, carried and given.
    OBJECTS = "
book letter map key box rope basket bottle jar cup plate bowl knife spoon ladder bucket hammer
saw axe shovel rake broom cart wheel wagon boat oar sail net anchor chair table stool bench
bed blanket pillow coat hat glove boot belt scarf purse coin bag sack chest crate parcel
package lamp candle torch stove kettle pan pot clock watch pen brush canvas picture frame
carpet curtain window door gate fence stone brick plank pole pipe hose pump engine machine
bicycle umbrella suitcase notebook envelope stamp newspaper poster photograph camera radio";
    /// What things are put into.
    VESSELS = "
box basket bottle jar cup bowl bucket bag sack chest crate pot pan kettle dish tub vase tin
suitcase mug";
    /// Places where things happen.
    PLACES = "
market square bridge river harbour station school church inn tavern mill farm field meadow
forest hill valley road path street corner garden yard kitchen hall tower castle wall shop
bakery office workshop warehouse dock pier beach shore island lake pond spring stream
waterfall quarry mine camp cottage cabin house palace temple museum theatre hospital court
prison park playground terrace balcony porch cave cliff ridge crossroads tollgate ferry
fairground churchyard schoolyard marketplace mountain canyon swamp pasture grove clearing";
    /// People without a name.
    ROLES = "
neighbour stranger visitor clerk guard mayor captain farmer merchant boatman cook messenger
keeper student officer reporter editor secretary chairman treasurer traveller pilgrim soldier
widow uncle aunt cousin grandmother grandfather brother sister mother father friend servant
apprentice labourer foreman inspector witness councillor governor stationmaster customer
passenger guest leader helper warden beggar prince";
    /// Animals of the surroundings, in the plural.
    ANIMALS = "
sheep cows horses dogs cats ducks bees birds crows owls gulls frogs snakes bears wolves deer
mice rats bats eagles hawks seals whales pigs chickens ants spiders butterflies fish trout
salmon geese doves oxen foals calves";
    /// Plants, in the plural.
    PLANTS = "
oaks pines willows birches roses lilies daisies tulips poppies ferns reeds nettles thistles
brambles vines apples pears plums cherries nuts mushrooms herbs grasses bushes flowers leaves
roots branches seeds weeds poplars elms beeches violets daffodils";
    /// Food that is eaten or cooked.
    FOODS = "
bread cheese soup stew porridge cake pie pudding honey butter milk cream jam tea coffee cider
wine beer ham bacon sausage beef chicken pork cabbage onions carrots potatoes turnips beans
peas lentils rice pasta eggs garlic pepper mustard vinegar sugar biscuits pancakes dumplings
berries raisins almonds custard broth";
    /// Goods of trade.
    GOODS = "
salt flour wool linen silk cotton leather timber coal iron copper tin lead glass paper ink
soap wax oil grain barley oats hops malt spices cloth yarn thread nails tiles bricks pottery
rope tar hides feathers tobacco candles baskets blankets tools seed hay straw fodder
pliers scissors shears tongs bellows chalk charcoal resin gravel";
    /// Measures of goods.
    MEASURES = "sacks boxes bundles crates jars bales loads carts bags rolls casks trays";
    /// Materials.
    MATERIALS = "
wood stone brass steel bronze silver gold clay wicker canvas velvet felt ivory bone pewter
oak pine maple walnut";
    /// Colours.
    COLOURS = "
red blue green yellow orange purple brown black white grey pink crimson scarlet violet indigo
turquoise amber golden silver beige cream copper olive maroon navy teal lilac rusty pale dark";
    /// Adjectives of things.
    ADJECTIVES = "
old new small large heavy light broken strange plain simple narrow wide long short tall deep
clean dirty dusty muddy wet dry cold warm hot cool rotten sharp blunt smooth rough soft hard
thick thin round square flat crooked straight hollow solid fragile sturdy shiny dull bright
hidden secret famous forgotten familiar unknown foreign rare common precious cheap costly
worthless useful useless perfect damaged faded painted carved polished patched torn folded
sealed locked ancient modern humble splendid ordinary curious remarkable peculiar lovely ugly
clumsy tidy untidy steady shaky loose tight slippery sticky spotted striped woven wooden
enormous tiny slender massive delicate coarse elegant shabby worn magnificent battered
fragrant musty smoky bent scratched chipped cracked stained foldable portable borrowed";
    /// Adjectives of places.
    VIEWS = "
quiet noisy busy empty full crowded deserted distant nearby remote lonely peaceful dangerous
safe pleasant dreary gloomy bare open closed abandoned steep gentle mossy sandy rocky grassy
leafy thorny sunny shady windy misty frozen flooded haunted restored neglected muddy beautiful
famous forgotten narrow wide dark silent";
    /// Adjectives of matters.
    KINDS = "
long short strange simple difficult easy serious silly great terrible wonderful important
sudden secret public private local final sad happy dangerous expensive successful pleasant
unusual bitter sweet endless brief urgent boring famous costly peaceful";
    /// How something was done.
    ADVERBS = "
slowly quickly quietly loudly carefully carelessly gently roughly calmly nervously happily
sadly eagerly lazily bravely timidly politely rudely kindly cruelly wisely foolishly firmly
softly suddenly gradually finally secretly openly proudly humbly patiently impatiently
silently gladly gratefully reluctantly willingly hastily promptly steadily neatly clumsily
skilfully awkwardly cheerfully gloomily warmly coldly honestly solemnly joyfully wearily
anxiously boldly cautiously curiously thoughtfully generously plainly faithfully merrily
properly safely swiftly thoroughly together alone again twice often";
    /// How somebody felt.
    FEELINGS = "
happy sad angry afraid proud tired hungry thirsty curious worried calm nervous cheerful lonely
grateful jealous surprised puzzled ashamed hopeful bored excited confused relieved content
restless weary sleepy eager stubborn brave timid sorry amused annoyed doubtful certain uneasy
delighted furious";
    /// Matters that are thought and talked about.
    MATTERS = "
harvest journey wedding festival funeral flood drought fire war law tax debt promise rumour
story song dance game race feast meeting election vote plan idea dream lesson mistake accident
repair building trade business quarrel apology visit friendship marriage illness cure custom
tradition fashion season voyage discovery invention experiment question problem solution robbery
contest bargain contract delivery parade concert exhibition strike inspection search rescue
treaty lawsuit inheritance secret surprise holiday auction ceremony speech investigation
shortage celebration expedition competition performance arrangement disagreement";
    /// What is seen and heard outside.
    NATURE = "
moon sun sky sea wind rain snow frost ice thunder lightning dust smoke shadow fog hail mud
sunrise sunset rainbow horizon tide current breeze storm darkness silence echo starlight";
    /// What people have or lack.
    VIRTUES = "
luck money courage patience kindness wisdom justice freedom honour truth health strength skill
faith hope humour curiosity experience knowledge talent energy trust respect sense care help
honesty loyalty modesty generosity";
    /// What people like to talk about.
    LORE = "
history music art poetry science medicine religion language childhood youth age memory danger
trouble time taste peace nature food sport politics geography mathematics literature painting
cooking gardening sailing hunting fishing fame poverty wealth";
    /// Past tense of walking somewhere; each goes with "to the".
    MOVES = "
walked ran hurried wandered rode travelled returned marched crept strolled climbed sailed
rowed limped raced drove cycled hiked trudged stumbled skipped galloped drifted went came
rushed headed moved crossed";
    /// Past tense of doing something to a thing.
    DEEDS = "
found lost bought sold carried dragged lifted dropped cleaned washed painted repaired broke
mended opened closed hid showed borrowed returned examined measured weighed counted wrapped
unwrapped packed unpacked noticed admired described remembered forgot ignored wanted
needed chose touched pushed pulled kicked threw caught tied untied covered uncovered buried
collected stored saved burned drew copied inspected polished tested turned emptied filled
rescued guarded delivered received accepted refused ordered replaced decorated";
    /// What one may do to a thing, in the infinitive.
    TASKS = "
find lose buy sell carry drag lift drop clean wash paint repair break mend open close hide show
borrow return examine measure weigh count wrap pack notice admire describe remember forget
ignore choose touch push pull kick throw catch tie cover bury collect store save burn draw copy
inspect polish test turn empty fill rescue guard deliver receive accept refuse order replace
decorate sharpen rinse press hang fold trim glue nail bolt sand varnish sweep scrub mark";
    /// What one may do to food, in the infinitive.
    COOKING = "
boil stir chop peel slice grate knead roll bake roast simmer strain pour soak warm season fry
mix cool salt taste mash whip melt toast serve";
    /// Past tense of saying, after a quote.
    SPEECH = "
said whispered shouted replied muttered added answered cried sighed laughed called exclaimed
began groaned grumbled chuckled";
    /// Past tense of saying, before a clause.
    TELLING = "
said explained announced declared insisted admitted remarked suggested promised warned claimed
repeated argued complained confessed believed thought";
    /// What the weather was like.
    WEATHERS = "
rainy cloudy foggy stormy snowy clear chilly mild humid frosty dry breezy grey hot icy wet
bright thundery drizzly calm";
    /// Times that go with "in the".
    TIMES = "morning afternoon evening night summer winter autumn";
    /// Times that go with "at".
    HOURS = "noon midnight dawn dusk daybreak nightfall";
    /// Days of the week.
    DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday";
    /// Months.
    MONTHS = "
January February March April May June July August September October November December";
    /// Small numbers in words.
    NUMBERS = "two three four five six seven eight nine ten eleven twelve twenty thirty forty fifty";
    /// Spans of time.
    SPANS = "minutes hours days weeks months years";
    /// Tools and utensils.
    TOOLS = "
chisel file drill screwdriver wrench clamp vice trowel spade hoe fork sickle scythe needle pin
hook chain wire string tape ruler pencil sponge cloth rag mop funnel sieve ladle whisk grater
skillet cauldron mallet plane lever pulley wedge crowbar spatula stopper strap";
}
