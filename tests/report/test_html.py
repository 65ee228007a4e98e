"""The report is one file that fetches nothing, says the numbers that were measured, and copes with nothing to say."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

from posefix.evaluation.comparison import compare
from posefix.evaluation.diagnosis import diagnose, transitions
from posefix.report.drawing import POSE
from posefix.report.html import render
from posefix.report.pictures import write_pictures
from tests.evaluation_scenes import people_of, scene, truth_of


class Grey:
    """The same image for every id."""

    def __getitem__(self, image_id: int) -> np.ndarray:
        return np.full((500, 500, 3), 120, np.uint8)

    def name(self, image_id: int) -> str:
        return f"alice_{image_id}.jpg"


def subject(rng: np.random.Generator, images: int = 12, **changes: object) -> SimpleNamespace:
    dataset, records = scene(rng, images)
    truth = truth_of(dataset)
    before = people_of(records)
    noise = rng.normal(0, 2, before.keypoints.shape)
    after = before.with_keypoints(before.keypoints + noise)
    metrics = compare(truth, before, after, rng=np.random.default_rng(0))
    metrics = {**metrics, "measured_images": images}
    fields = {
        "title": "results.json",
        "truth": truth,
        "before": before,
        "after": after,
        "metrics": metrics,
        "images": Grey(),
        "facts": {"checkpoint": "tiny", "command": "test.py --out <b>"},
    }
    return SimpleNamespace(**{**fields, **changes})


def page_of(about: SimpleNamespace, **changes: object) -> str:
    return render(**{**vars(about), **changes})


def test_the_page_fetches_nothing_and_runs_nothing(rng: np.random.Generator) -> None:
    page = page_of(subject(rng))
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in page and "@import" not in page


def test_the_page_says_what_was_measured(rng: np.random.Generator) -> None:
    about = subject(rng)
    page = page_of(about)
    gain = about.metrics["gain"]
    assert f"{gain['AP']:+.2f} AP" in page
    assert f"95 % interval {gain['AP_low']:+.2f} to {gain['AP_high']:+.2f}" in page
    before = diagnose(about.truth, about.before)
    moves = transitions(before, before.with_results(about.after))
    cells = re.findall(r"""<td class="(?:same)?" style="[^"]*">([\d,]+) <small>""", page)
    assert [int(cell.replace(",", "")) for cell in cells] == moves.ravel().tolist()
    right = moves[:, 0].sum() / moves.sum()
    assert f"{100 * moves[0].sum() / moves.sum():.1f} &rarr; {100 * right:.1f} %" in page


def test_names_and_commands_are_shown_as_text(rng: np.random.Generator) -> None:
    page = page_of(subject(rng, title="<img src=x onerror=alert(1)>.json"))
    assert "<img src=x" not in page and "&lt;img src=x" in page
    assert "--out &lt;b&gt;" in page


def test_results_that_match_nobody_are_told_so(rng: np.random.Generator) -> None:
    about = subject(rng)
    away = about.before.with_keypoints(about.before.keypoints + 9000)
    metrics = compare(about.truth, away, away, rng=np.random.default_rng(0))
    metrics = {**metrics, "measured_images": 12}
    page = page_of(subject(np.random.default_rng(0), truth=about.truth, before=away, after=away, metrics=metrics))
    assert "lies near one of the" in page and "What became of each error" not in page


def test_few_images_are_no_verdict(rng: np.random.Generator) -> None:
    assert "too few to tell a gain from chance" in page_of_images(rng, 3)
    assert "interval" in page_of_images(rng, 3) and "The interval" not in page_of_images(rng, 1)
    many = page_of_images(rng, 500)
    assert "too few" not in many and ("beyond what chance explains" in many or "cannot be told" in many)


def page_of_images(rng: np.random.Generator, images: int) -> str:
    about = subject(rng)
    counts = {"images": 500, "measured_images": images}  # of all results; of those with annotations
    return page_of(about, metrics={**about.metrics, **counts})


def test_an_empty_list_of_results_is_told_so(rng: np.random.Generator) -> None:
    about = subject(rng)
    nobody = about.before[[]]
    metrics = {**compare(about.truth, nobody, nobody, rng=np.random.default_rng(0)), "measured_images": 0}
    page = page_of(about, before=nobody, after=nobody, metrics=metrics)
    assert "The results are an empty list" in page and "All of COCO" not in page


def test_keypoints_that_nobody_annotated_are_not_called_right(rng: np.random.Generator) -> None:
    dataset, records = scene(rng, 12)
    for annotation in dataset["annotations"]:
        annotation["keypoints"][2:15:3] = [0] * 5
        annotation["num_keypoints"] = sum(v > 0 for v in annotation["keypoints"][2::3])
    truth, people = truth_of(dataset), people_of(records)
    metrics = compare(truth, people, people, rng=np.random.default_rng(0)) | {"measured_images": 12}
    page = page_of(subject(rng), truth=truth, before=people, after=people, metrics=metrics)
    assert "face, before" not in page and "<title>nose" not in page and "<title>left_hip" in page
    assert "upper, before" in page


def test_no_annotated_people_is_told_so(rng: np.random.Generator) -> None:
    about = subject(rng)
    dataset = {**about.truth.coco.dataset, "annotations": []}
    truth = truth_of(dataset)
    metrics = compare(truth, about.before, about.before[[]], rng=np.random.default_rng(0)) | {"measured_images": 12}
    page = page_of(subject(rng, truth=truth, before=about.before, after=about.before, metrics=metrics))
    assert "There is nothing to compare" in page and "nothing can be compared" in page


@pytest.mark.parametrize("images", [1, 2])
def test_one_image_is_enough(rng: np.random.Generator, images: int) -> None:
    assert "How this was made" in page_of(subject(rng, images))


def test_the_lists_of_people_are_those_of_the_pictures(rng: np.random.Generator, tmp_path) -> None:
    about = subject(rng)
    truth = about.truth.people
    index = write_pictures(tmp_path, about.images, about.before, about.after, truth, 6)
    page = page_of(about)
    for heading, kind in (("Gained most", "best"), ("Lost most", "worst")):
        section = page[page.index(heading) :].split("<h3>")[0]
        listed = re.findall(r"<figcaption>(\S+): OKS ([\d.]+) &rarr; ([\d.]+)", section)
        drawn = [e for e in index if e["kind"] == kind]
        assert listed == [(e["image"], f"{e['oks_before']:.2f}", f"{e['oks_after']:.2f}") for e in drawn]
        assert 0 < len(listed) <= 6


def test_the_legend_tells_left_from_right(rng: np.random.Generator) -> None:
    page = page_of(subject(rng))
    for name, color in (("the person&#39;s left", POSE.left), ("the person&#39;s right", POSE.right)):
        assert "background: #{:02x}{:02x}{:02x}".format(*color) + '"></i>' + name in page
    assert page.count(">left</text>") == page.count(">right</text>") == 2  # on the body, before and after
