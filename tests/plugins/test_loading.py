"""Plugins are found, loaded and taken apart; what is none is told in a sentence."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raylabel.errors import ConfigError
from raylabel.pipelines import PIPELINES
from raylabel.plugins.loading import active, declarations, declare, find_plugin
from raylabel.settings import (
    Carried,
    GroundingPipeline,
    Settings,
    know_steps,
    load_settings,
    use_loaded,
    use_plugins,
)
from raylabel.settings.default_file import default_specification

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "configs" / "examples" / "object_colors.py"
GIVEN = ["results_dir=r", "image_grounding.vlm.gemini.api_key=k"]

STEP = '''
from raylabel.plugins import Changes, Outcome, Prompt, Question, Result, StepSettings, WholeReplyStep

class Mine(WholeReplyStep):
    """Something in, something out."""

    name = "mine"
    needs = gives = ("expressions",)
    finds = "boxes"
    prompt = Prompt(version=1, text="What is it?", needs=())

    def questions(self, record):
        return [Question(self.setup.prompt.render({}))]

    def parse(self, question, text, record, left_out):
        return text

    def conclude(self, answers, record):
        return Result(Outcome.LABELED, Changes(expressions=record.expressions))

PIPELINES = {"image_grounding": [Mine]}
'''


@pytest.fixture(autouse=True)
def _no_plugins_afterwards() -> Iterator[None]:
    yield
    use_plugins([])


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Writes mine.py into the working folder; returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "mine.py").write_text(text, encoding="utf-8")
        return "mine.py"

    return write


def steps_now() -> list[str]:
    return [step.name for step in PIPELINES["image_grounding"] if not step.fills_in]


# --- what a specification knows -------------------------------------------------------------------------------------


def test_a_specification_knows_the_steps_of_its_plugins_and_of_no_others(write: Callable[[str], str]) -> None:
    settings = load_settings(None, [*GIVEN, f"plugins=[{EXAMPLE}]", "steps.object_colors.workers=2"], False)
    assert settings.pipeline.workflow.steps == ["expression_extraction", "grounding", "object_colors"]
    assert settings.steps.object_colors.workers == 2
    other = load_settings(None, GIVEN, False, plugins=[write(STEP)])
    assert other.pipeline.workflow.steps == ["expression_extraction", "grounding", "mine"]
    assert other.plugins == ["mine.py"]
    with pytest.raises(ConfigError, match=r"steps.object_colors.workers: unknown key"):
        load_settings(None, [*GIVEN, "steps.object_colors.workers=2"], False)
    assert steps_now() == ["expression_extraction", "grounding"]
    use_loaded(settings.loaded_plugins)
    assert steps_now() == ["expression_extraction", "grounding", "object_colors"]


def test_numbers_and_folders_of_the_steps_before_stay() -> None:
    before = [step.directory for step in PIPELINES["image_grounding"]]
    use_plugins([str(EXAMPLE)])
    assert [step.directory for step in PIPELINES["image_grounding"]] == [*before, "step_2_object_colors"]


def test_plugins_may_stand_in_the_file_and_an_override_wins(write: Callable[[str], str], tmp_path: Path) -> None:
    write(STEP)
    (tmp_path / "c.yaml").write_text("results_dir: r\nplugins: ['${oc.env:MINE}']\nsteps: {mine: {workers: 3}}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINE", "mine.py")
        settings = load_settings(tmp_path / "c.yaml", GIVEN[1:], False)
    assert settings.plugins == ["mine.py"]
    assert settings.steps.mine.workers == 3
    with pytest.raises(ConfigError, match=r"steps.mine[.a-z]*: unknown key"):
        load_settings(tmp_path / "c.yaml", [*GIVEN, "plugins=[]"], False)


def test_the_steps_of_a_plugin_that_the_command_names_are_run_whatever_the_file_says_of_steps(
    write: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    given = [*GIVEN, "image_grounding.workflow.steps=[0,1]"]
    named = load_settings(None, given, False, plugins=[write(STEP)])
    assert named.pipeline.workflow.steps == ["expression_extraction", "grounding", "mine"]
    assert not caplog.messages
    configured = load_settings(None, [*given, "plugins=[mine.py]"], False)
    assert configured.pipeline.workflow.steps == ["expression_extraction", "grounding"]
    assert caplog.messages == ["image_grounding.workflow.steps does not name mine, which plugins add: not run"]
    alone = load_settings(None, [*GIVEN, "image_grounding.workflow.steps=[mine]"], False, plugins=["mine.py"])
    assert alone.pipeline.workflow.steps == ["mine"]


def test_settings_of_its_own_have_rules_and_documentation(write: Callable[[str], str]) -> None:
    own = (
        "class Own(StepSettings):\n    '''Mine.'''\n\n    language: str = 'English'\n    '''In which it is named.'''\n"
    )
    text = STEP.replace("class Mine", f"{own}\nclass Mine").replace(
        '    name = "mine"', '    name = "mine"\n    settings = Own'
    )
    write(text)
    settings = load_settings(None, [*GIVEN, "plugins=[mine.py]", "steps.mine.language=German"], False)
    assert settings.steps.mine.own() == {"language": "German"}
    with pytest.raises(ConfigError, match=re.escape('Did you mean "steps.mine.language"?')):
        load_settings(None, [*GIVEN, "plugins=[mine.py]", "steps.mine.langauge=German"], False)
    shown = default_specification("image_grounding")
    assert "    # In which it is named.\n    language: English\n" in shown
    assert "0 expression_extraction, 1 grounding, 2 mine." in shown


# --- pipelines ------------------------------------------------------------------------------------------------------

OWN_PIPELINE = STEP.replace(
    'PIPELINES = {"image_grounding": [Mine]}',
    """
from raylabel.plugins import ExpressionExtraction, Pipeline

class Phrases(ExpressionExtraction):
    name = "phrases"

PIPELINES = {"phrases_only": Pipeline("image_grounding", [Phrases, Mine])}
""",
)


def test_a_pipeline_of_its_own_has_a_block_with_the_settings_of_the_one_it_is_like(write: Callable[[str], str]) -> None:
    write(OWN_PIPELINE)
    given = ["results_dir=r", "plugins=[mine.py]", "autolabel_type=phrases_only", "phrases_only.vlm.gemini.api_key=k"]
    settings = load_settings(None, [*given, "phrases_only.workflow.steps=[phrases]", "steps.phrases.workers=3"], False)
    assert settings.pipeline.vlm.gemini.api_key == "k"
    assert [step.label for step in settings.selected_steps] == ["step0_phrases"]
    assert isinstance(settings.pipeline, GroundingPipeline)
    travelled = pickle.loads(pickle.dumps(Carried(settings))).value
    assert travelled == settings
    assert load_settings(None, given, False).pipeline.workflow.steps == ["phrases", "mine"]
    with pytest.raises(
        ConfigError, match=r'autolabel_type: found "phrase_only", allowed: .*Did you mean "phrases_only"'
    ):
        load_settings(None, [*given, "autolabel_type=phrase_only"], False)
    with pytest.raises(ConfigError, match=r"phrases_only.data.input_jsonl: required"):
        load_settings(None, given)
    text = default_specification()
    assert "\nphrases_only:\n" in text
    assert 'By number ("0") or name: 0 phrases, 1 mine.' in text
    noted = declarations()
    use_plugins([])
    assert "phrases_only" not in Settings.model_fields
    with pytest.raises(ConfigError, match=r"phrases_only: unknown key|autolabel_type|phrases_only.vlm"):
        load_settings(None, [*GIVEN, *given[2:]], False)
    declare(noted)
    know_steps()
    assert [step.label for step in PIPELINES["phrases_only"]] == ["step0_phrases", "step1_mine"]
    assert Settings.model_validate({"autolabel_type": "phrases_only"}).pipeline.workflow.steps == ["phrases", "mine"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('"image_grounding", [', '"image_gg", [', 'like: found "image_gg", allowed: image_grounding, image_ref'),
        ("[Phrases, Mine]", "[]", '"phrases_only": found no steps'),
        ('{"phrases_only"', '{"image_grounding"', 'there is another pipeline called "image_grounding"; rename it'),
        ('{"phrases_only"', '{"My pipeline"', "found 'My pipeline', expected lower-case letters"),
        ("[Phrases, Mine]", "[ExpressionExtraction]", 'there is another step called "expression_extraction"'),
    ],
)
def test_what_is_no_pipeline_is_told_in_a_sentence(
    write: Callable[[str], str], old: str, new: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        use_plugins([write(OWN_PIPELINE.replace(old, new))])
    assert list(PIPELINES) == ["image_grounding", "image_referring_expression"]
    assert not PIPELINES["image_grounding"][0].plugin


# --- files ----------------------------------------------------------------------------------------------------------


def test_an_edited_file_is_another_plugin_and_the_same_text_is_the_same(write: Callable[[str], str]) -> None:
    (first,) = use_plugins([write(STEP)])
    (again,) = use_plugins(["mine.py"])
    assert again == first
    step = PIPELINES["image_grounding"][-1]
    (edited,) = use_plugins([write(STEP.replace("What is it?", "What else?"))])
    assert edited.digest != first.digest
    assert PIPELINES["image_grounding"][-1].prompt.text == "What else?"
    use_loaded((first,))
    assert PIPELINES["image_grounding"][-1] is step


def test_it_travels_to_other_processes_by_its_text(write: Callable[[str], str], tmp_path: Path) -> None:
    settings = load_settings(None, [*GIVEN, "steps.mine.workers=3"], False, plugins=[write(STEP)])
    (tmp_path / "mine.py").unlink()
    data = pickle.dumps(Carried((settings, PIPELINES["image_grounding"][-1])))
    code = (
        "import pickle, sys; settings, step = pickle.loads(sys.stdin.buffer.read()).value\n"
        "from raylabel.pipelines import PIPELINES; import inspect\n"
        "assert PIPELINES['image_grounding'][-1] is step and step.number == 2\n"
        "assert 'What is it?' in inspect.getsource(step)\n"
        "print(settings.steps.mine.workers, settings.model_dump()['steps']['mine']['workers'])"
    )
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=False)
    assert done.stdout.decode().split() == ["3", "3"], done.stderr.decode()


def test_an_installed_plugin_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_installed_steps.py").write_text(STEP)
    (tmp_path / "my_steps-1.0.dist-info").mkdir()
    (tmp_path / "my_steps-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: my-steps\nVersion: 1.0\n")
    points = "[raylabel.plugins]\nmy-steps = my_installed_steps\n"
    (tmp_path / "my_steps-1.0.dist-info/entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    (plugin,) = use_plugins(["my-steps"])
    assert (plugin.module, plugin.text) == ("my_installed_steps", None)
    assert steps_now()[-1] == "mine"
    with pytest.raises(ConfigError, match="no installed plugin; installed are my-steps"):
        find_plugin("my-step")


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("def f(:", r'"mine.py", line 1: SyntaxError', id="syntax"),
        pytest.param("\n1 / 0", r'"mine.py", line 2: ZeroDivisionError: division by zero', id="error"),
        pytest.param("import no_such_thing", r"line 1: ModuleNotFoundError: No module named", id="import"),
        pytest.param("", r'has no PIPELINES; write PIPELINES = {"image_grounding": [MyStep]}', id="no-table"),
        pytest.param(STEP.replace('"image_gr', '"image_gg'), r'no pipeline "image_ggounding"; known', id="pipeline"),
        pytest.param(STEP.replace("[Mine]", "Mine"), r"expected a list of steps", id="no-list"),
        pytest.param(
            STEP.replace("[Mine]", "[3]"), r"found 3, expected a class that is derived from Step", id="no-class"
        ),
        pytest.param(STEP.replace("    name =", "    nam ="), r'Mine: "name" is missing', id="no-name"),
        pytest.param(STEP.replace("def parse", "def prase"), r"Mine: does not define parse", id="abstract"),
        pytest.param(STEP.replace('"mine"', '"My step"'), r"name: found 'My step', expected lower-case", id="bad-name"),
        pytest.param(STEP.replace('"mine"', '"grounding"'), r'another step called "grounding"', id="taken"),
        pytest.param(STEP.replace('("expressions",)', '("colors",)'), r'needs: found "colors", allowed', id="needs"),
        pytest.param(STEP.replace("needs = gives =", "gives = ()\n    needs ="), r"gives: found nothing", id="gives"),
        pytest.param(STEP.replace('"boxes"', '"colors"'), r"finds: found 'colors', allowed: boxes", id="finds"),
        pytest.param(STEP.replace("[Mine]", "[Mine, Mine]"), r'another step called "mine"', id="twice"),
    ],
)
def test_what_is_no_plugin_is_told_in_a_sentence_and_changes_nothing(
    write: Callable[[str], str], text: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence) if "[" in sentence else sentence):
        use_plugins([write(text)])
    assert steps_now() == ["expression_extraction", "grounding"]
    assert active() == ()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("plugins=[missing.py]", r'plugins: no file "missing.py" (looked in '),
        ("plugins=[nothing]", 'plugins: "nothing" is no file that ends with .py, and no installed plugin'),
        ("plugins=mine.py", 'plugins: found "mine.py", expected a list such as ["0", "1"]; write [mine.py].'),
        ("plugins=[.]", 'plugins: "." is no file that ends with .py'),
        ("plugins=[~nobody-here/a.py]", 'plugins: no file "~nobody-here/a.py"'),
        (f"plugins=[{'a' * 5000}.py]", f'plugins: "{"a" * 200}..." cannot be read: File name too long'),
        ('plugins=["a\\0.py"]', "cannot be read: embedded null byte"),
        ("plugins=['${results_dir}.py']", "plugins: cannot be resolved; ${oc.env:NAME} can be used there"),
    ],
)
def test_wrong_names_are_told_in_a_sentence(given: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load_settings(None, [*GIVEN, given], False)


# --- without their code ---------------------------------------------------------------------------------------------


def test_what_was_noted_of_them_is_enough_to_know_their_steps() -> None:
    use_plugins([str(EXAMPLE)])
    noted, step = declarations(), PIPELINES["image_grounding"][-1]
    declare(noted)
    assert PIPELINES["image_grounding"][-1] is step
    use_plugins([])
    declare(noted)
    know_steps()
    declared = PIPELINES["image_grounding"][-1]
    for name in ("name", "label", "directory", "needs", "uses", "gives", "finds", "plugin"):
        assert getattr(declared, name) == getattr(step, name)
    assert Settings.model_validate({"steps": {"object_colors": {"whatever": 1}}}).steps.object_colors.own()
    use_plugins([])
    assert steps_now() == ["expression_extraction", "grounding"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="nothing-is-wrong"),
        pytest.param({"name": "../../etc"}, id="no-name"),
        pytest.param({"name": "mine\n"}, id="a-line-more"),
        pytest.param({"pipeline": "a b", "like": "image_grounding"}, id="no-pipeline"),
        pytest.param({"like": "another"}, id="like-nothing"),
        pytest.param({"finds": "gold"}, id="finds-nothing-known"),
        pytest.param({"needs": 3}, id="no-list"),
        pytest.param({"name": "grounding"}, id="taken"),
    ],
)
def test_what_was_noted_otherwise_is_passed_over(change: dict[str, object]) -> None:
    step: dict[str, object] = {"pipeline": "image_grounding", "like": "image_grounding", "name": "mine", "purpose": ""}
    step |= {"needs": [], "uses": [], "gives": ["expressions"], "finds": "boxes"}
    declare([{"name": "mine.py", "digest": "d", "steps": [{**step, **change}]}, 3, {"name": "x"}])
    assert steps_now() == ["expression_extraction", "grounding", *([] if change else ["mine"])]


@pytest.mark.parametrize("noted", [None, [], {}, "x"])
def test_results_of_earlier_releases_have_none(noted: object) -> None:
    declare(noted)
    assert steps_now() == ["expression_extraction", "grounding"]
