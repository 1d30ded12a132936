"""Names of settings that run a model in another engine."""

from __future__ import annotations

import pytest

from vlmnb.errors import UserError
from vlmnb.spec import optimizations


def test_an_engine_is_a_setting_of_its_own_beside_the_precision() -> None:
    made = optimizations.parse("llama.cpp-Q4_K_M", "bf16")
    assert (made.name, made.dtype) == ("llama.cpp-Q4_K_M", "bf16")
    assert optimizations.parse("bf16+llama.cpp-F16", "fp32").name == "bf16+llama.cpp-F16"
    assert made.of("engine") == "llama.cpp-Q4_K_M"
    assert made.kernel("eager") != "eager"
    assert not any("llama.cpp" in name for name in optimizations.defaults("fp32"))


@pytest.mark.parametrize(
    "name",
    [
        "llama.cpp-Q4_0+sdpa",
        "llama.cpp-Q4_0+bnb-8bit",
        "visual_tokens-4-grid+llama.cpp-F16",
        "llama.cpp-Q3_X",
        "llama.cpp-F16+llama.cpp-Q8_0",
    ],
)
def test_what_an_engine_cannot_take_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=r"llama\.cpp"):
        optimizations.parse(name, "fp32")


def test_without_its_package_the_reason_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vlmnb.spec.optimizations.llama_cpp.installed", lambda package: package != "cyllama")
    made = optimizations.parse("llama.cpp-F16", "fp32")
    assert "requirements-llama-cpp.txt" in optimizations.obstacle(made, "cpu")
    assert optimizations.obstacle(made, "cuda")
