"""Generated files are those that their sources would give now.

`make validate` compares byte for byte with ddev. These tests find a stale file on any machine: they read the
specification and look for what each option must have left in the example and in the models.
"""

import re
import types
import typing

import pytest
import yaml
from datadog_checks.base.checks.openmetrics.v2 import scraper as stock_scraper
from datadog_checks.base.checks.openmetrics.v2 import transform as stock_transform
from datadog_checks.base.utils.http import STANDARD_FIELDS

from datadog_checks.model_serving import ModelServingCheck
from datadog_checks.model_serving.config_models import InstanceConfig, SharedConfig, defaults

from .conftest import ROOT

EXAMPLE = (ROOT / "datadog_checks/model_serving/data/conf.yaml.example").read_text(encoding="utf-8")
[FILE] = yaml.safe_load((ROOT / "assets/configuration/spec.yaml").read_text(encoding="utf-8"))["files"]
INIT_CONFIG, INSTANCES = (section["options"] for section in FILE["options"])
OWN = {option["name"]: option for option in INSTANCES if "name" in option}
[TEMPLATE] = [entry["overrides"] for entry in INSTANCES if "overrides" in entry]
SIMPLE_TYPES = {"string": str, "boolean": bool, "integer": int, "number": float}


def example_blocks():
    """Return the lines of the example for each option of an instance, from its `## @param` on."""
    _, _, section = EXAMPLE.partition("\ninstances:\n")
    blocks = {}
    for block in section.split("## @param ")[1:]:
        lines = [re.sub(r"^ *(- )?", "", line) for line in block.splitlines()]
        blocks[lines[0].split(" - ")[0]] = [line for line in lines if line]
    return blocks


BLOCKS = example_blocks()


def uncommented(name):
    """Return the option as the user has it after taking the `#` away."""
    lines = [line.removeprefix("# ") for line in BLOCKS[name][1:] if not line.startswith("##") and line != "#"]
    return yaml.safe_load("\n".join(lines))


def annotation(value):
    """Return the type that the generated model has for the `value` of an option."""
    if "anyOf" in value:
        return typing.Union[tuple(annotation(choice) for choice in value["anyOf"])]  # noqa: UP007
    if value["type"] == "array":
        return tuple[annotation(value["items"]), ...]
    if value["type"] == "object":
        return types.MappingProxyType[str, typing.Any]
    if "enum" in value:
        return typing.Literal[tuple(value["enum"])]
    return SIMPLE_TYPES[value["type"]]


def default(value):
    """Return the default of an option, None where it has none; the rules are those of ddev."""
    if "display_default" in value:
        return value["display_default"]
    example = value.get("example")
    if value.get("type") not in SIMPLE_TYPES or (value["type"] == "string" and (example is None or "<" in example)):
        return None
    return example


def default_in_force(name):
    found = getattr(defaults, f"instance_{name}", None)
    return found() if found else None


def test_copies_of_the_example_are_identical():
    """conf.d has the very file that the wheel brings."""
    copy = ROOT / "conf.d/model_serving.d/conf.yaml.example"
    assert copy.read_text(encoding="utf-8") == EXAMPLE


@pytest.mark.parametrize("name", OWN)
def test_own_option_is_in_the_model(name):
    """An option of the specification has its type, its lower bound and its default in the models."""
    value = OWN[name]["value"]
    field = InstanceConfig.model_fields[name]
    if "properties" in value:
        (model,) = [kind for kind in typing.get_args(field.annotation) if kind is not types.NoneType]
        assert set(model.model_fields) == {entry["name"] for entry in value["properties"]}
    else:
        assert field.annotation == typing.Optional[annotation(value)]  # noqa: UP045
    assert [bound.ge for bound in field.metadata] == ([value["minimum"]] if "minimum" in value else [])
    assert default_in_force(name) == default(value)


@pytest.mark.parametrize("name", [name for name, option in OWN.items() if not option.get("hidden")])
def test_own_option_is_in_the_example(name):
    """A visible option has its description, its default and its example value in the example."""
    block, value = BLOCKS[name], OWN[name]["value"]
    described = ["##" if not line else f"## {line}" for line in OWN[name]["description"].splitlines()]
    assert block[1 : len(described) + 1] == described
    shown = default(value)
    ending = "optional" if shown is None else f"default: {yaml.safe_dump(shown).splitlines()[0]}"
    assert block[0].endswith(ending)
    if "example" in value:
        assert uncommented(name) == {name: value["example"]}


def test_hidden_options_are_not_in_the_example():
    """What is hidden is accepted but not advertised, and everything else is there."""
    hidden = {name for name, option in OWN.items() if option.get("hidden")}
    assert hidden & set(BLOCKS) == set()
    assert set(OWN) - hidden <= set(BLOCKS)


@pytest.mark.parametrize("override", TEMPLATE)
def test_override_of_a_stock_option_is_in_force(override):
    """What the specification changes in the stock options shows in the example and in the models."""
    name, _, path = override.partition(".")
    value = TEMPLATE[override]
    match path:
        case "description":
            assert BLOCKS[name][1:][: len(value.splitlines())] == [
                "##" if not line else f"## {line}" for line in value.splitlines()
            ]
        case "required":
            assert InstanceConfig.model_fields[name].is_required() is value
        case "enabled" | "display_priority" | "hidden":
            assert name in BLOCKS
        case "value.example":
            assert f"{name}: {yaml.safe_dump(value).splitlines()[0]}" in [
                line.removeprefix("# ") for line in BLOCKS[name]
            ]
            if f"{name}.value.display_default" not in TEMPLATE:
                assert default_in_force(name) == value
        case "value.display_default":
            assert default_in_force(name) == value
        case "value.require_trusted_provider":
            assert "SECURE" not in (ROOT / "datadog_checks/model_serving/config_models/instance.py").read_text("utf-8")
        case "formats":
            assert set(value) <= {"url", "path", "port"}
        case _:
            pytest.fail(f"no rule says where the override {override} must show")


def is_placeholder(name):
    """Numbers without a default are shown as a word in angle brackets, which the user has to replace."""
    return uncommented(name) == {name: f"<{name.upper()}>"}


@pytest.mark.parametrize("name", [name for name in BLOCKS if not is_placeholder(name)])
def test_every_documented_option_is_accepted(name):
    """Each example value, uncommented alone, passes the models."""
    instance = uncommented(name)
    context = {"configured_fields": frozenset(instance), "security_config": None, "logger": None, "warning": None}
    InstanceConfig.model_validate(instance, context=context)


def documented_instances():
    """Return the short instances of the section's introduction, by the line that introduces each."""
    text, _, _ = EXAMPLE.partition("\ninstances:\n")
    _, _, introduction = text.rpartition("\n\n")
    lines = [line.removeprefix("##").removeprefix(" ") for line in introduction.splitlines()]
    found = {}
    for index, line in enumerate(lines):
        if line.strip() == "instances:":
            title = next(earlier for earlier in reversed(lines[:index]) if earlier)
            found[title] = "\n".join(lines[index : index + 5])
    return found


DOCUMENTED = documented_instances()


def test_an_instance_of_five_lines_is_shown_for_every_system():
    """Whoever reads the example finds a start for each of the five systems."""
    assert len(DOCUMENTED) == 5
    shown = "\n".join(DOCUMENTED.values())
    assert "databricks_host" in shown
    assert all(
        f"serving_system: {system}" in shown for system in ("mlserver", "tensorflow_serving", "dcgm", "custom_ml")
    )


@pytest.mark.parametrize("title", DOCUMENTED)
def test_documented_instance_is_accepted(title):
    """The check takes each short instance as it stands, with something filled in for what is in angle brackets."""
    filled = re.sub(r"<[A-Z_]+>", "example", DOCUMENTED[title])
    [instance] = yaml.safe_load(filled)["instances"]
    check = ModelServingCheck("model_serving", {}, [instance])
    check.load_configuration_models()
    assert check._config_model_instance.endpoint_name in ("example", None)


def test_every_option_that_the_stock_check_reads_is_known():
    """An option that a newer base package brings must be added to the specification, or the check would refuse it."""
    read = set()
    for module in (stock_scraper, stock_transform):
        folder = ROOT.__class__(module.__file__).parent
        for path in [folder / "transform.py"] if module is stock_transform else folder.rglob("*.py"):
            read |= set(re.findall(r"\bconfig\.get\(\s*['\"](\w+)['\"]", path.read_text(encoding="utf-8")))
    assert {"histogram_buckets_as_distributions", "share_labels"} & read
    assert (read | set(STANDARD_FIELDS)) - set(InstanceConfig.model_fields) == set()


def test_shared_options_are_known():
    """The options of init_config that the specification adds are in the model."""
    assert {option["name"] for option in INIT_CONFIG if "name" in option} <= set(SharedConfig.model_fields)
