"""The command line: TAO's lines, exit codes, sentences instead of tracebacks, nothing started in vain."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from raylabel import __version__
from raylabel.cli import COMMANDS, main
from raylabel.commands.init import recipes
from raylabel.errors import ClientError, InputError, ServerError, StoreError, Verdict
from raylabel.pipelines import PIPELINES
from raylabel.prompts import PREAMBLE
from raylabel.settings import Settings

ROOT = Path(__file__).parent.parent
STEPS = [step.name for pipeline in PIPELINES.values() for step in pipeline if not step.fills_in]
SECRET = "sk-very-secret-0123456789"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Captions, and a specification for them that needs no key."""
    monkeypatch.chdir(tmp_path)
    for name in ("GOOGLE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "captions.jsonl").write_text('{"image_path": "a.png", "caption": "a red ball"}\n')
    (tmp_path / "spec.yaml").write_text(
        "results_dir: from_file\n"
        "image_grounding:\n"
        "  vlm: {backend: openai, openai: {base_url: 'http://127.0.0.1:9/v1', model_name: m}}\n"
        "  data: {input_jsonl: captions.jsonl}\n"
    )
    return tmp_path


class Engine(ModuleType):
    """Stands where the engine is imported from and notes how it was called; what it does can be replaced."""

    def __init__(self) -> None:
        super().__init__("raylabel.runtime.run")
        self.calls: list[tuple[Settings, int | None]] = []
        self.run: Callable[..., int] = self._note

    def _note(self, settings: Settings, executor: object, limit: int | None, **how: object) -> int:
        self.calls.append((settings, limit))
        return 3


@pytest.fixture
def engine(monkeypatch):
    engine = Engine()
    monkeypatch.setitem(sys.modules, "raylabel.runtime.run", engine)
    return engine


def stderr_of(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("raylabel: ")
    assert captured.err.count("\n") == 1
    return captured.err


def python(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    keep = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**keep, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- run and generate -----------------------------------------------------------------------------------------------


@pytest.mark.tao_row("-e and --experiment_spec_file")
@pytest.mark.tao_row("python -m raylabel run config.yaml")
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["run", "spec.yaml", "results_dir=r", "ray.actors=2", "--limit", "5"], id="run"),
        pytest.param(["run", "--limit=5", "spec.yaml", "results_dir=r", "ray.actors=2"], id="options-first"),
        pytest.param(["run", "results_dir=r", "spec.yaml", "--limit", "5", "ray.actors=2"], id="mixed"),
        pytest.param(["generate", "-e", "spec.yaml", "results_dir=r", "ray.actors=2", "--limit", "5"], id="generate"),
        pytest.param(
            ["generate", "results_dir=r", "--experiment_spec_file", "spec.yaml", "ray.actors=2", "--limit", "5"],
            id="generate-long",
        ),
        pytest.param(
            ["generate", "--experiment_spec_file=spec.yaml", "--limit", "5", "results_dir=r", "ray.actors=2"],
            id="generate-equals",
        ),
    ],
)
def test_run_and_generate_hand_the_merged_settings_to_the_engine(folder, engine, words):
    assert main(words) == 3
    ((settings, limit),) = engine.calls
    assert (settings.results_dir, settings.ray.actors, limit) == ("r", 2, 5)


@pytest.mark.tao_row("auto_label generate -e spec.yaml key=value")
def test_the_generate_line_of_tao_works_word_for_word(folder, engine):
    (folder / "r").mkdir()
    (folder / "d").mkdir()
    (folder / "d" / "c.jsonl").touch()
    line = "generate -e spec.yaml results_dir=/r image_grounding.data.input_jsonl=/d/c.jsonl"
    assert main(line.replace("=/", f"={folder}/").split()) == 3
    ((settings, limit),) = engine.calls
    assert settings.results_dir == f"{folder}/r"
    assert settings.image_grounding.data.input_jsonl == f"{folder}/d/c.jsonl"
    assert limit is None


@pytest.mark.tao_row("auto_label default_specs results_dir=... module_name=auto_label")
def test_the_default_specs_line_of_tao_works_word_for_word_and_its_file_runs(folder, engine, capsys):
    line = "default_specs results_dir=/r module_name=auto_label"
    assert main(line.replace("=/", f"={folder}/").split()) == 0
    path = folder / "r" / "experiment.yaml"
    assert capsys.readouterr().out == f"{path}\n"
    assert yaml.safe_load(path.read_text())["image_referring_expression"]["workflow"]["output_format"] == "jsonl"
    given = ["results_dir=r", "image_grounding.data.input_jsonl=captions.jsonl", "image_grounding.vlm.gemini.api_key=k"]
    assert main(["generate", "-e", str(path), *given]) == 3


@pytest.mark.parametrize("command", ["run", "retry", "estimate", "generate"])
def test_a_scheduler_that_knows_no_other_success_gets_0_for_open_records(folder, engine, command):
    words = [command, *(["-e"] if command == "generate" else []), "spec.yaml"]
    assert main([*words, "results_dir=r"]) == 3
    assert main([*words, "results_dir=r", "--exit-zero"]) == 0


def test_a_file_with_an_equals_sign_in_its_name_is_a_specification(folder, engine):
    (folder / "spec.yaml").rename(folder / "lr=3.yaml")
    assert main(["run", "lr=3.yaml", "results_dir=r"]) == 3


def test_default_specs_writes_one_pipeline_on_request(folder):
    assert main(["default_specs", "results_dir=r", "autolabel_type=image_referring_expression"]) == 0
    content = yaml.safe_load((folder / "r" / "experiment.yaml").read_text())
    assert "image_grounding" not in content


def test_default_specs_never_overwrites_what_somebody_edited(folder, capsys):
    assert main(["default_specs", "results_dir=r"]) == 0
    assert main(["default_specs", "results_dir=r"]) == 0, "an untouched file is written again"
    path = folder / "r" / "experiment.yaml"
    path.write_text("results_dir: mine\n")
    capsys.readouterr()
    assert main(["default_specs", "results_dir=r"]) == 2
    assert "differs" in stderr_of(capsys)
    assert path.read_text() == "results_dir: mine\n"


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.tao_row("a wrong key, type or value is an error with the nearest valid one, before anything starts")
@pytest.mark.parametrize(
    ("words", "parts"),
    [
        pytest.param([], ["no command", "run, generate"], id="nothing"),
        pytest.param(["rnu", "spec.yaml"], ['"rnu"', '"run"'], id="command"),
        pytest.param(["--versoin"], ['"--versoin"', '"--version"'], id="top-option"),
        pytest.param(["run"], ["no specification", "run CONFIG"], id="run-alone"),
        pytest.param(["run", "results_dir=r"], ["no specification", "run CONFIG"], id="overrides-only"),
        pytest.param(["generate", "results_dir=r"], ["no specification", "generate -e"], id="generate-alone"),
        pytest.param(["run", "spec.yml"], ["spec.yml", '"spec.yaml"'], id="no-such-file"),
        pytest.param(["generate", "-e", "spec.yml"], ["spec.yml", '"spec.yaml"'], id="no-such-file-generate"),
        pytest.param(["run", "spec.yaml", "ray.actor=1"], ["ray.actor", '"ray.actors"'], id="key"),
        pytest.param(["run", "spec.yaml", "ray.actors"], ["key=value", '"ray.actors"'], id="no-value"),
        pytest.param(["run", "spec.yaml", "--limti", "3"], ['"--limti"', '"--limit"'], id="option"),
        pytest.param(["run", "spec.yaml", "--limit=0"], ["--limit", '"0"', "1 or more"], id="limit-zero"),
        pytest.param(["run", "spec.yaml", "--limit", "few"], ["--limit", '"few"'], id="limit-word"),
        pytest.param(["run", "spec.yaml", "--lim", "3"], ['"--lim"', '"--limit"'], id="no-abbreviations"),
        pytest.param(["default_specs"], ["results_dir", "required"], id="specs-alone"),
        pytest.param(["default_specs", "results_dir="], ["results_dir", "required"], id="specs-empty"),
        pytest.param(["default_specs", "result_dir=r"], ['"result_dir"', '"results_dir"'], id="specs-key"),
        pytest.param(
            ["default_specs", "results_dir=r", "module_name=auto_lable"], ["module_name", '"auto_label"'], id="module"
        ),
        pytest.param(
            ["default_specs", "results_dir=r", "autolabel_type=grounding"], ['"image_grounding"'], id="specs-type"
        ),
        pytest.param(["default_specs", "results_dir=spec.yaml"], ["cannot write"], id="specs-into-a-file"),
        pytest.param(["demo", "--images", "0"], ["--images", "1 or more"], id="no-images"),
        pytest.param(["demo", "--pipeline", "x"], ["--pipeline", "image_grounding"], id="pipeline"),
        pytest.param(["demo", "--backend", "x"], ["--backend", "gemini"], id="backend"),
        pytest.param(["demo", "ray.actors=1"], ['"ray.actors=1"', "takes no"], id="demo-takes-no-settings"),
        pytest.param(["init", "vlm-grounding"], ['"vlm-grounding"', '"vllm-grounding"'], id="recipe"),
        pytest.param(["init", "vllm-grounding", "spec.yaml"], ['"spec.yaml" exists', "another name"], id="init-over"),
        pytest.param(["init", "vllm-grounding", "no/spec.yaml"], ["cannot write", "no/spec.yaml"], id="init-nowhere"),
        pytest.param(["prompts", "groundin"], ['"groundin"', '"grounding"'], id="prompts-step"),
        pytest.param(
            ["prompts", "grounding", "--profile", "palligemma"], ["palligemma", '"paligemma"'], id="prompts-profile"
        ),
        pytest.param(["review"], ["RESULTS"], id="review-alone"),
        pytest.param(["review", "from_file", "--png"], ["RESULTS", "from_file"], id="no-such-results"),
        pytest.param(["review", "."], ["annotations.jsonl"], id="nothing-to-draw"),
        pytest.param(["review", ".", "--only", "good"], ["failed", "flagged", "rejected"], id="no-such-choice"),
        pytest.param(["review", ".", "--png", "--apply", "j.jsonl"], ["--apply", "--png"], id="draw-and-apply"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(folder, engine, capsys, words, parts):
    assert main(words) == 2
    text = stderr_of(capsys)
    for part in parts:
        assert part in text
    assert engine.calls == []


@pytest.mark.parametrize(
    ("override", "env", "parts"),
    [
        pytest.param(
            "image_grounding.vlm.backend=gemini", {}, ["image_grounding.vlm.gemini", "GOOGLE_API_KEY"], id="gemini"
        ),
        pytest.param("image_grounding.vlm.openai.base_url=", {}, ["OPENAI_API_KEY"], id="openai"),
        pytest.param(
            "image_grounding.vlm.openai.api_key_env=MINE", {"OPENAI_API_KEY": "k"}, ["MINE"], id="own-variable"
        ),
    ],
)
def test_a_missing_key_is_told_before_anything_starts(folder, engine, capsys, monkeypatch, override, env, parts):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert main(["run", "spec.yaml", override]) == 2
    text = stderr_of(capsys)
    for part in parts:
        assert part in text
    assert engine.calls == []


@pytest.mark.tao_row("an empty api_key reads the environment; a hosted endpoint may need none; EMPTY is accepted")
def test_a_key_in_the_environment_is_enough(folder, engine, monkeypatch):
    monkeypatch.setenv("GOOGLE_API_KEY", SECRET)
    assert main(["run", "spec.yaml", "image_grounding.vlm.backend=gemini"]) == 3


@pytest.mark.tao_row("a wrong key, type or value is an error with the nearest valid one, before anything starts")
def test_neither_ray_nor_a_vendor_sdk_is_imported_for_a_mistake_in_the_specification(folder):
    program = (
        "import sys; from raylabel.cli import main; code = main(['run', 'spec.yaml', 'ray.actors=-1']); "
        "print(code, [m for m in ('ray', 'openai', 'google.genai') if m in sys.modules])"
    )
    done = python("-c", program, cwd=folder)
    assert done.stdout == "2 []\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(InputError("captions.jsonl: empty"), 2, id="input"),
        pytest.param(StoreError("results_dir: disk full"), 1, id="store"),
        pytest.param(ServerError("nobody listens at http://me:pw@h/v1"), 1, id="server"),
        pytest.param(KeyboardInterrupt(), 130, id="interrupted"),
    ],
)
def test_what_the_engine_raises_becomes_an_exit_code(folder, engine, capsys, error, code):
    def run(settings, executor, limit, **how):
        raise error

    engine.run = run
    assert main(["run", "spec.yaml"]) == code
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert "pw" not in text


@pytest.mark.parametrize("code", [1, 2, 130])
def test_what_breaks_a_run_is_no_success_for_any_scheduler(folder, engine, code):
    engine.run = lambda settings, executor, limit, **how: code
    assert main(["run", "spec.yaml", "--exit-zero"]) == code


def test_a_server_error_that_the_user_can_mend_is_exit_code_2(folder, engine, capsys):
    def run(settings, executor, limit, **how):
        raise ServerError("the key was refused") from ClientError(Verdict.STOP_RUN, "401", status=401)

    engine.run = run
    assert main(["run", "spec.yaml"]) == 2
    assert stderr_of(capsys) == "raylabel: the key was refused\n"


def test_an_unexpected_error_keeps_its_traceback(folder, engine):
    def run(settings, executor, limit, **how):
        raise ZeroDivisionError

    engine.run = run
    with pytest.raises(ZeroDivisionError):
        main(["run", "spec.yaml"])


# --- init and prompts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", recipes())
def test_a_recipe_becomes_a_specification_that_only_lacks_its_data(folder, engine, monkeypatch, capsys, recipe):
    for name in ("GOOGLE_API_KEY", "NVIDIA_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, SECRET)
    assert main(["init", recipe]) == 0
    path = f"{recipe}.yaml"
    out = capsys.readouterr().out
    assert out.startswith(f"{path}\n")
    assert f"raylabel check {path}" in out
    text = (folder / path).read_text()
    assert text.startswith(f"# raylabel check {path} ")
    assert ("which images? " in text) is not recipe.startswith("demo")
    assert main(["run", path]) == 2
    assert "image_root: no folder" in (said := stderr_of(capsys)) or "image_dir: no folder" in said
    for key, value in next(iter(v for k, v in yaml.safe_load(text).items() if k.startswith("image_")))["data"].items():
        place = folder / value
        (place.parent if key.endswith("jsonl") else place).mkdir(parents=True, exist_ok=True)
        if key.endswith("jsonl"):
            place.touch()
    assert main(["run", path]) == 3
    assert len(engine.calls) == 1


def test_a_recipe_has_its_name_in_any_spelling_and_goes_where_it_is_told(folder):
    assert main(["init", "gemini_image_grounding.yaml", "mine.yaml"]) == 0
    assert main(["init", "gemini-grounding", "too.yaml"]) == 0
    mine, too = ((folder / name).read_text() for name in ("mine.yaml", "too.yaml"))
    assert mine == too.replace("too.yaml", "mine.yaml")


def test_without_a_name_the_recipes_are_listed(capsys):
    assert main(["init"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} " in out for name in recipes())
    assert "Captions in, phrases with boxes out. Gemini, through Google's API.\n" in out


def test_prompts_show_what_a_model_is_asked_in_the_words_of_its_family(capsys):
    assert main(["prompts", "grounding"]) == 0
    usual = capsys.readouterr().out
    assert usual.startswith(f"{PREAMBLE}\n\n<image, 1280x720>\n\nTask: find phrases in the image")
    assert "[x1, y1, x2, y2] normalized to 0-1000" in usual
    assert "$phrases" in usual, "what differs from record to record keeps its name"
    assert "$box" not in usual
    assert main(["prompts", "grounding", "--profile", "google/paligemma2-3b-mix-448"]) == 0
    assert capsys.readouterr().out == "<image, 1280x720>\n\ndetect $phrase\n"


@pytest.mark.parametrize("step", STEPS)
def test_the_template_of_every_step_is_a_prompt_that_may_be_given_back(folder, engine, capsys, step):
    assert main(["prompts", step, "--template"]) == 0
    (folder / "mine.txt").write_text(capsys.readouterr().out)
    given = ["image_referring_expression.data.input_annotations_jsonl=captions.jsonl", "results_dir=r"]
    given += ["image_referring_expression.vlm.gemini.api_key=k"]
    pipeline = "image_grounding" if step in ("expression_extraction", "grounding") else "image_referring_expression"
    words = [f"autolabel_type={pipeline}", f"steps.{step}.prompt_file=mine.txt", *given]
    assert main(["run", "spec.yaml", *words]) == 3


def test_without_a_name_the_steps_are_listed(capsys):
    assert main(["prompts"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == STEPS


# --- demo and review ------------------------------------------------------------------------------------------------


def test_demo_hands_its_options_on(folder, monkeypatch, capsys):
    calls = []
    demo = ModuleType("raylabel.demo.show")

    def run_demo(*given):
        calls.append(given)
        return 0

    monkeypatch.setattr(demo, "run_demo", run_demo, raising=False)
    monkeypatch.setitem(sys.modules, "raylabel.demo.show", demo)
    assert main(["demo"]) == 0
    words = ["demo", "--json", "--out", "o", "--images", "3", "--pipeline", "image_grounding", "--backend", "gemini"]
    assert main(words) == 0
    assert [given[:-1] for given in calls] == [
        (Path("demo_out"), 24, ["image_grounding", "image_referring_expression"], "openai", False),
        (Path("o"), 3, ["image_grounding"], "gemini", True),
    ]
    assert [type(given[-1]()).__name__ for given in calls] == ["HeadStart", "HeadStart"]


def test_review_writes_sheets_or_a_gallery_where_it_is_told(folder, capsys):
    Path("annotations.jsonl").write_text('{"image_id": "1", "image_path": "none.jpg", "outcome": "failed"}\n')
    assert main(["review", ".", "--png", "--out", "x"]) == 0
    assert main(["review", ".", "--png"]) == 0
    assert main(["review", ".", "--only", "failed", "--sample", "3", "--out", "y"]) == 0
    assert capsys.readouterr().out == "x/sheet_0001.png\nreview/sheet_0001.png\ny/index.html\n"
    assert main(["review", ".", "--only", "flagged"]) == 2
    assert "no such record" in capsys.readouterr().err


# --- the process ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_everywhere_and_holds_an_example(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([*command.split(), "--help"])
    assert left.value.code == 0
    assert "example:" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_what_reads_a_specification_takes_plugins_that_it_may_speak_of(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    reads_one = "CONFIG [key=value" in said or "experiment_spec_file" in said
    assert ("--plugin" in said) == (reads_one or command == "review")


def test_help_imports_nothing_that_takes_time():
    program = (
        "import contextlib, sys; from raylabel.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "print([m for m in ('omegaconf', 'pydantic', 'numpy', 'pyarrow', 'PIL') if m in sys.modules], file=sys.stderr)"
    )
    assert python("-c", program, cwd=ROOT).stderr == "[]\n"


def test_a_python_without_the_libraries_is_told_what_to_do(folder):
    done = python("-S", "-m", "raylabel", "run", "spec.yaml", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith(f'raylabel: {sys.executable} has no module "')
    assert "activate" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"raylabel {__version__}\n"


@pytest.mark.tao_row("python -m raylabel run config.yaml")
def test_python_m_raylabel_is_the_same_program(folder):
    done = python("-m", "raylabel", "run", "spec.yaml", "image_grounding.vlm.openai.api_ky=" + SECRET, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        'raylabel: image_grounding.vlm.openai.api_ky: unknown key. Did you mean "image_grounding.vlm.openai.api_key"?\n'
    )


def test_ignored_keys_are_told_on_standard_error_once(folder):
    with (folder / "spec.yaml").open("a") as file:
        file.write("num_gpus: 1\nmal: {checkpoint: ''}\nray: {actors: -1}\n")
    done = python("-m", "raylabel", "run", "spec.yaml", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.count("ignored") == 1
    assert "num_gpus, mal" in done.stderr


def test_what_is_logged_steers_no_terminal_and_shows_no_password() -> None:
    script = (
        "import logging\nfrom raylabel.cli import main\nmain(['prompts'])\n"
        r"logging.getLogger('raylabel').warning('it says %s', '\x1b[31mred\x9b5n at http://me:hunter2@host/x')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "raylabel: WARNING: it says red at http://***@host/x"
