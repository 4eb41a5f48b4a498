"""The measurements of lm-evaluation-harness, as a record and as a page.

    render.py WORDS RESULTS DOCS

WORDS is the distance of the answers, RESULTS a folder with `dense*.json` and `converted*.json` as
`lm_eval --output_path` writes them, DOCS the folder to write to.
"""

import json
import sys
from pathlib import Path

TASK = "storybook_questions"
VERSIONS = ("lm_eval_version", "transformers_version")


def read(folder, model):
    """The measured numbers of a model, and the versions that measured them."""
    (file,) = folder.glob(f"{model}*.json")
    found = json.loads(file.read_text())
    measured = found["results"][TASK]
    return {
        "model": model,
        "accuracy": measured["acc,none"],
        "standard_error": measured["acc_stderr,none"],
        "questions": found["n-samples"][TASK]["effective"],
        **{name: found[name] for name in VERSIONS},
    }


def page(record):
    """The record as Markdown."""
    first = record["models"][0]
    versions = ", ".join(f"{name.removesuffix('_version')} {first[name]}" for name in VERSIONS)
    lines = [
        "# lm-evaluation-harness",
        "",
        f"Task `{TASK}`: {first['questions']} multiple-choice questions, each at least {record['words']}",
        "words after its answer, about texts of *storybook*, our generator of English-like documents. The",
        "bundled model runs in `transformers` with dense attention and with the default *arm*, or",
        "[kind of attention](../README.md#arms). This checks the integration; the task is too easy to tell",
        "two good arms apart.",
        "",
        "| attention | accuracy, % | standard error |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {one['model']} | {100 * one['accuracy']:.1f} | {100 * one['standard_error']:.1f} |"
        for one in record["models"]
    ]
    lines += [
        "",
        f"Measured with {versions}. Written by `assets/lm-eval/compare`; the record is",
        "[lm-eval.json](lm-eval.json).",
        "",
    ]
    return "\n".join(lines)


def main():
    words, results, docs = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    models = [read(results, model) for model in ("dense", "converted")]
    record = {"task": TASK, "words": words, "models": models}
    (docs / "lm-eval.json").write_text(json.dumps(record, indent=2) + "\n")
    (docs / "lm-eval.md").write_text(page(record))


if __name__ == "__main__":
    main()
