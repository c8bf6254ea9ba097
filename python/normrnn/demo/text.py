"""A GRU language model of the text that ships inside CPython: the manual behind ``help()``.

Each character is predicted from those before it. The text is cut into parallel streams, which
truncated back-propagation walks through with the state carried on. The first 90 % train; the last
10 % are held out.
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm  # type: ignore[import-untyped]

import normrnn as nr
from normrnn.demo import pictures, report, speed
from normrnn.demo.corpus import Corpus, Indices, batches, load, streams
from normrnn.demo.report import Array, Params, Run

# Sizes and λ were chosen with the first 80 % of the text for training and the next 10 % held out.
HIDDEN, WINDOW, STREAMS = 256, 100, 10  # H, T and B
LEARNING_RATE, CLIP_NORM, STRENGTH = 8e-3, 1.0, 1e-4
SECONDS = 22.0  # per run
EVALUATE_EVERY, RECORD_EVERY = 500, 10  # steps
GRADIENT_WINDOWS = 64

Penalty: TypeAlias = Mapping[str, nr.L2] | None


def train_step(
    api: ModuleType,
    params: Params,
    state: dict[str, Any],
    x: Array,
    target: Indices,
    h0: Array | None,
    rule: nr.rules.Rule,
    penalty: Penalty,
) -> tuple[float, Params, Array]:
    """Do one training step with normrnn, or with its NumPy reference, as `api`.

    Returns the loss, its gradients, and the state to go on from.
    """
    out = api.forward("gru", x, params, h0)
    logits = api.head_forward(out.y, params)
    loss, dlogits = api.softmax_cross_entropy(logits, target, reduction="mean")
    dh, head_grads = api.head_backward(out.y, dlogits, params)
    grads = api.backward(out.tape, dh).params | head_grads
    api.update(params, grads, state, rule=rule, penalty=penalty, clip_norm=CLIP_NORM)
    return loss, grads, out.h_n


def train(corpus: Corpus, strength: float, steps: int, seed: int) -> Run:
    """Train a network with the penalty strength·‖W_hh‖²; the step size falls in the second half."""
    classes = len(corpus.alphabet)
    params = nr.init_params("gru", classes, HIDDEN, output_size=classes, rng=seed)
    penalty = {"weight_hh_*": nr.L2(strength)} if strength else None
    state = nr.init_state(nr.Adam(LEARNING_RATE), params)
    run = Run(f"L2, λ = {strength:g}" if strength else "λ = 0", params)
    run.record_norms(0)
    windows = islice(batches(corpus, STREAMS, WINDOW), steps)
    h = None
    characters = steps * WINDOW * STREAMS
    with tqdm(
        total=characters, desc=run.label, unit="char", unit_scale=True, disable=None
    ) as bar:  # None: no bar where there is no terminal
        for step, (x, target, at_start) in enumerate(windows):
            rule = nr.Adam(LEARNING_RATE * min(1.0, 2 * (1 - step / steps)))
            h0 = None if at_start else h
            _, _, h = train_step(nr, params, state, x, target, h0, rule, penalty)
            bar.update(target.size)
            if (step + 1) % RECORD_EVERY == 0 or step + 1 == steps:
                run.record_norms(step + 1)
            if (step + 1) % EVALUATE_EVERY == 0 or step + 1 == steps:
                run.held_out = bits_per_character(corpus, corpus.held_out, params)
                bar.set_postfix_str(f"held out {run.held_out:.3f} bits/char")
    run.training = bits_per_character(corpus, corpus.train[: len(corpus.held_out)], params)
    run.h_norm = gradient_through_time(corpus, params)
    return run


def bits_per_character(corpus: Corpus, text: Indices, params: Params) -> float:
    """Evaluate a part of the text; the penalty is no part of this."""
    x, target = streams(text, STREAMS)
    out = nr.forward("gru", corpus.one_hot(x), params, need_grad=False)
    logits = nr.head_forward(out.y, params)
    loss, _ = nr.softmax_cross_entropy(logits, target, reduction="mean")
    return loss / float(np.log(2))


def gradient_through_time(corpus: Corpus, params: Params) -> Array:
    """‖∂L/∂h_t‖ [T] for T held-out characters, where L is the loss of the last of them alone.

    The median of windows taken from all of the held-out text, one sequence (B = 1) each.
    """
    x, target = (part[:WINDOW] for part in streams(corpus.held_out, GRADIENT_WINDOWS))
    last = np.zeros((WINDOW, 1), dtype=bool)
    last[-1] = True
    norms = []
    for i in range(GRADIENT_WINDOWS):
        out = nr.forward("gru", corpus.one_hot(x[:, i : i + 1]), params)
        logits = nr.head_forward(out.y, params)
        _, dlogits = nr.softmax_cross_entropy(logits, target[:, i : i + 1], mask=last)
        dh, _ = nr.head_backward(out.y, dlogits, params)
        norms.append(nr.backward(out.tape, dh).h_norm[0])
    return np.asarray(np.median(norms, axis=0))


def sample(corpus: Corpus, params: Params, *, seed: int, length: int = 200) -> str:
    """Let the network write, at temperature 0.8: a little bolder than its own probabilities."""
    rng = np.random.default_rng(seed)
    written = [corpus.alphabet.index(character) for character in "The "]
    h, new = None, written
    for _ in range(length):
        out = nr.forward("gru", corpus.one_hot(np.array(new)[:, None]), params, h, need_grad=False)
        logits = nr.head_forward(out.y[-1, 0], params).astype(np.float64) / 0.8
        odds = np.exp(logits - logits.max())
        h, new = out.h_n, [int(rng.choice(len(odds), p=odds / odds.sum()))]
        written += new
    return "".join(corpus.alphabet[i] for i in written)


def run(
    output: Path, *, steps: int | None, seconds: float | None, strength: float | None, seed: int
) -> None:
    """Train with λ = 0 and with L2 on W_hh, print what came out, and draw it.

    Parameters
    ----------
    output : Path
        Where the picture goes.
    steps : int, optional
        Training steps of each run.
    seconds : float, optional
        Instead of steps: about how long each run may train; 22 by default.
    strength : float, optional
        λ of the second run.
    seed : int
        Of the initial weights, the same for both runs.
    """
    corpus = load()
    strength = STRENGTH if strength is None else strength
    classes = len(corpus.alphabet)
    total = len(corpus.train) + len(corpus.held_out)
    print(f"A GRU reads Python's manual: {total:,} characters, the last 10 % held out.")

    rule, penalty = nr.Adam(LEARNING_RATE), {"weight_hh_*": nr.L2(strength)}
    x, target, _ = next(batches(corpus, STREAMS, WINDOW))
    timed = speed.compare(
        lambda api, params, state: train_step(api, params, state, x, target, None, rule, penalty)[
            :2
        ],
        nr.init_params("gru", classes, HIDDEN, output_size=classes, rng=seed),
        rule,
    )
    if steps is None:
        steps = timed.steps_in(seconds or SECONDS)
    print(
        f"{steps} steps of {STREAMS} streams x {WINDOW} characters per run; the same again with "
        f"--steps {steps} --seed {seed}.\n"
    )

    runs = [train(corpus, s, steps, seed) for s in (0.0, strength)]
    block = ("W_hn", slice(2 * HIDDEN, 3 * HIDDEN))  # the GRU's candidate state reads h by it
    print(f"\n{report.summary(runs, 'bits/char', block, {})}")
    print(
        f"The last row: over {WINDOW} held-out characters, for the loss at the last of them;\n"
        f"the norms are the medians of {GRADIENT_WINDOWS} such windows.\n"
    )
    print(f"{timed}\n")
    best = min(runs, key=lambda one: one.held_out)
    print(f"The network with {best.label} writes:\n\n{sample(corpus, best.params, seed=seed)}\n")
    pictures.text(runs, output)
    print(f"The picture is in {output}.")
