"""A draft of the first half of the decoder's layers shares all weights with the model it is made of."""

from __future__ import annotations

import pytest
import torch
from small_models import REAL, small_config

from vlmnb import models
from vlmnb.measure import random_weights
from vlmnb.spec.optimizations import drafting


@pytest.mark.parametrize("name", REAL)
def test_a_draft_has_half_the_layers_and_stores_nothing_twice(name: str) -> None:
    config, family = small_config(name), models.family_of(models.get(name))
    model = random_weights.build(
        family.model_class(config), config, dtype=torch.float32, device="cpu", seed=0
    )
    draft = drafting.draft_of(model)
    assert len(family.decoder_layers(draft)) == len(family.decoder_layers(model)) // 2 == 1
    own = {each.data_ptr() for each in model.parameters()}
    assert {each.data_ptr() for each in draft.parameters()} <= own
    assert not [each for each in (*draft.parameters(), *draft.buffers()) if each.is_meta]
    ids = torch.full((1, 4), 9)
    assert draft(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.isfinite().all()
    drafted = drafting.SETTINGS[1].arguments(model)
    assert drafted["suppress_tokens"] == [config.image_token_id] or name != "fuyu-8b"
    assert drafting.SETTINGS[0].arguments(model) == {"assistant_early_exit": 1}
