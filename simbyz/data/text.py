"""Text: characters as numbers, each to be told from those before it."""

import numpy as np

from simbyz._arrays.checks import integer
from simbyz.data.datasets import Dataset
from simbyz.data.partition import Partition, by_owner

# William Shakespeare, Sonnets, 1609: in the public domain.
SONNETS = {
    18: """\
Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date:
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance or nature's changing course untrimm'd;
But thy eternal summer shall not fade
Nor lose possession of that fair thou owest;
Nor shall Death brag thou wander'st in his shade,
When in eternal lines to time thou growest:
So long as men can breathe or eyes can see,
So long lives this and this gives life to thee.
""",
    29: """\
When, in disgrace with fortune and men's eyes,
I all alone beweep my outcast state
And trouble deaf heaven with my bootless cries
And look upon myself and curse my fate,
Wishing me like to one more rich in hope,
Featured like him, like him with friends possess'd,
Desiring this man's art and that man's scope,
With what I most enjoy contented least;
Yet in these thoughts myself almost despising,
Haply I think on thee, and then my state,
Like to the lark at break of day arising
From sullen earth, sings hymns at heaven's gate;
For thy sweet love remember'd such wealth brings
That then I scorn to change my state with kings.
""",
    30: """\
When to the sessions of sweet silent thought
I summon up remembrance of things past,
I sigh the lack of many a thing I sought,
And with old woes new wail my dear time's waste:
Then can I drown an eye, unused to flow,
For precious friends hid in death's dateless night,
And weep afresh love's long since cancell'd woe,
And moan the expense of many a vanish'd sight:
Then can I grieve at grievances foregone,
And heavily from woe to woe tell o'er
The sad account of fore-bemoaned moan,
Which I new pay as if not paid before.
But if the while I think on thee, dear friend,
All losses are restored and sorrows end.
""",
    73: """\
That time of year thou mayst in me behold
When yellow leaves, or none, or few, do hang
Upon those boughs which shake against the cold,
Bare ruin'd choirs, where late the sweet birds sang.
In me thou seest the twilight of such day
As after sunset fadeth in the west,
Which by and by black night doth take away,
Death's second self, that seals up all in rest.
In me thou see'st the glowing of such fire
That on the ashes of his youth doth lie,
As the death-bed whereon it must expire
Consumed with that which it was nourish'd by.
This thou perceivest, which makes thy love more strong,
To love that well which thou must leave ere long.
""",
    116: """\
Let me not to the marriage of true minds
Admit impediments. Love is not love
Which alters when it alteration finds,
Or bends with the remover to remove:
O no! it is an ever-fixed mark
That looks on tempests and is never shaken;
It is the star to every wandering bark,
Whose worth's unknown, although his height be taken.
Love's not Time's fool, though rosy lips and cheeks
Within his bending sickle's compass come:
Love alters not with his brief hours and weeks,
But bears it out even to the edge of doom.
If this be error and upon me proved,
I never writ, nor no man ever loved.
""",
    130: """\
My mistress' eyes are nothing like the sun;
Coral is far more red than her lips' red;
If snow be white, why then her breasts are dun;
If hairs be wires, black wires grow on her head.
I have seen roses damask'd, red and white,
But no such roses see I in her cheeks;
And in some perfumes is there more delight
Than in the breath that from my mistress reeks.
I love to hear her speak, yet well I know
That music hath a far more pleasing sound;
I grant I never saw a goddess go;
My mistress, when she walks, treads on the ground:
And yet, by heaven, I think my love as rare
As any she belied with false compare.
""",
}


def sonnets(length: int = 16) -> tuple[Dataset, Partition]:
    """Six of Shakespeare's sonnets, character by character, and which example is of which sonnet:
    each is a worker.

    Args:
      length: of the characters read.

    Returns, raises: as `characters`.
    """
    return characters("sonnets", list(SONNETS.values()), length)


def characters(name: str, texts: list[str], length: int = 16) -> tuple[Dataset, Partition]:
    """Texts as examples: `length` characters, and the next one for a label; every fifth is a test
    example.

    Args:
      name: of the data set.
      texts: each longer than `length`; no example reaches from one into another.
      length: at least 1.

    Returns:
      The data set, its inputs floats (N, length) that are codes from 0 to num_classes - 1, in the
      order of the characters; and its partition by texts.

    Raises:
      TypeError: texts are no list of str.
      ValueError: length below 1, a text that is not longer, or one all of which is for the test.
    """
    length = integer("length", length)
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"texts must be a list of str, got {type(texts).__name__} {texts!r:.80}")
    if length < 1 or not texts or min(map(len, texts)) <= length:
        raise ValueError(f"each text must be longer than length={length}, which is at least 1")
    letters = sorted(set("".join(texts)))
    codes = [np.array([letters.index(letter) for letter in text], np.int32) for text in texts]
    windows = [np.lib.stride_tricks.sliding_window_view(text, length + 1) for text in codes]
    examples = np.concatenate(windows)
    owners = np.repeat(np.arange(len(texts)), [len(one) for one in windows])
    is_test = np.arange(len(examples)) % 5 == 0
    if lost := sorted(set(range(len(texts))) - set(owners[~is_test].tolist())):
        raise ValueError(
            f"text {lost[0]} has one example, a fifth one, which is for the test: with "
            f"length={length} a text needs {length + 2} characters"
        )
    inputs = examples[:, :-1].astype(np.float32)
    labels = np.ascontiguousarray(examples[:, -1])
    dataset = Dataset(
        name,
        inputs[~is_test],
        labels[~is_test],
        inputs[is_test],
        labels[is_test],
        num_classes=len(letters),
        scale=1.0,
        mean=(0.0,),
        deviation=(1.0,),
        flip=False,
    )
    return dataset, by_owner(owners[~is_test])
