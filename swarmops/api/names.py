"""A name for a service that was created without one: two words that are easy to say."""

from __future__ import annotations

import random

_ADJECTIVES = """
agile amber brave bright calm clever crisp daring eager early fair fleet fond frank gentle glad
golden hardy honest jolly keen kind lively loyal lucid mellow merry mild neat nimble noble patient
plucky proud quick quiet ready robust serene sharp silent sleek smart solid steady sturdy sunny
swift tidy vivid warm wise witty zesty
"""
_ANIMALS = """
ant badger bee beetle bison crane cricket deer dolphin dove duck eagle falcon finch firefly fox
gecko goose hare hawk heron hornet ibex jay kestrel koala lark lemur linnet lynx magpie marten
mayfly moth otter owl panda pigeon plover puffin quail raven robin salmon seal sparrow starling
stork swallow swan swift tern thrush trout viper walrus wasp wren
"""


def random_name(rng: random.Random) -> str:
    """Draw a name that is valid for a service, such as ``keen_heron7``."""
    adjective = rng.choice(_ADJECTIVES.split())
    return f"{adjective}_{rng.choice(_ANIMALS.split())}{rng.randrange(100)}"
