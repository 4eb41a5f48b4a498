//! Model cards: the front matter for the Hub, and the text for people.

use bsbr_convert::{ConversionPlan, ModelCard};
use bsbr_gpt2::Gpt2Config;

fn config(plan: Option<(&str, Option<&str>)>) -> Gpt2Config {
    let mut config = Gpt2Config {
        n_layer: 4,
        ..Gpt2Config::default()
    };
    if let Some((arm, layers)) = plan {
        let arms = ConversionPlan::parse(arm, layers).unwrap().arms(4).unwrap();
        config = config.with_arms(arms);
    }
    config
}

/// The lines between the first two `---`.
fn front_matter(card: &str) -> Vec<&str> {
    let mut lines = card.lines();
    assert_eq!(lines.next(), Some("---"));
    lines.take_while(|line| *line != "---").collect()
}

#[test]
fn what_is_known_of_a_base_is_said_to_the_hub() {
    let base = Some(("openai-community/gpt2".to_owned(), Some("abc".to_owned())));
    let card = ModelCard {
        title: "far \"gpt2\"".to_owned(),
        base,
        ..ModelCard::default()
    };
    let text = card.to_markdown(&config(Some(("moments:clusters=4", Some("3=dense")))));
    let front = front_matter(&text);
    for line in [
        "license: mit",
        "language: \"en\"",
        "base_model: \"openai-community/gpt2\"",
        "library_name: \"transformers\"",
        "- bsbr-moments",
        "- bsbr-dense",
    ] {
        assert!(front.contains(&line), "{line}: {text}");
    }
    for part in [
        "# far \"gpt2\"",
        "at commit abc",
        "| 0–2 | `moments` |",
        "| 3 | `dense` | — | its key and value | nothing |",
        "its key and value in 8 bits; a share of one of its chunk's 4 clusters",
        "single tokens outside the 12 clusters that match a query best, and precision",
        "`clusters` ",
        "without training afterwards",
        "AutoModelForCausalLM.from_pretrained(\"FOLDER\", trust_remote_code=True)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn what_is_not_known_is_left_to_be_filled_in() {
    let card = ModelCard {
        title: "mine".to_owned(),
        base: Some(("somebody/model".to_owned(), None)),
        trained: true,
        sections: vec!["## Training\n\nMuch.\n".to_owned()],
        ..ModelCard::default()
    };
    let text = card.to_markdown(&config(Some(("local", None))));
    let front = front_matter(&text);
    assert!(front.iter().any(|line| line.starts_with("# license:")));
    assert!(front.iter().any(|line| line.starts_with("# language:")));
    assert!(!front.iter().any(|line| line.starts_with("license:")));
    assert!(text.contains("then trained to recover"));
    assert!(text.contains("| nothing | everything far |"), "{text}");
    assert!(text.ends_with("\n## Training\n\nMuch.\n"));
}

#[test]
fn a_dense_model_is_one_of_transformers() {
    let text = ModelCard::default().to_markdown(&config(None));
    let front = front_matter(&text);
    assert!(front.contains(&"library_name: \"transformers\""));
    assert!(!front.iter().any(|line| line.starts_with("base_model")));
    assert!(
        text.contains("AutoModelForCausalLM.from_pretrained(\"FOLDER\")\n"),
        "{text}"
    );
}
