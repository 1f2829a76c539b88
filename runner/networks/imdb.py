"""The recurrent network that the Rosetta stone of 2017 trained on the reviews of IMDB."""

from runner.layers import Dense, Embedding, Gru, Network

VOCABULARY, WORDS = 30_000, 150


def imdb_gru(name: str = "imdb-gru", *, reset_after: bool = True) -> Network:
    """An embedding, 100 gated units in cuDNN's form and two classes: 3,818,302 parameters, 20.25 MFLOP a review."""
    layers = (
        Embedding(vocabulary=VOCABULARY, dimension=125),
        Gru(units=100, reset_after=reset_after),
        Dense(units=2, gain=1.0),
    )
    return Network(name=name, input_shape=(WORDS,), layers=layers)


def imdb_gru_reset_before() -> Network:
    """The form of older frameworks, which resets before the recurrent product and has one bias: 3,818,002 parameters."""
    return imdb_gru("imdb-gru-reset-before", reset_after=False)
