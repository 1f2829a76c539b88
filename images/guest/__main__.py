"""The shared in-container script: `python guest JOB_FOLDER` reads request.json and leaves answer.json beside it.

Runs on Python 2.7 and 3.5 to 3.14 with numpy and one framework. Its own stdout carries one JSON event a line,
for live progress only; whatever a framework prints goes to stderr, which is a log.
"""
from __future__ import absolute_import, division, print_function

import importlib
import io
import json
import os
import sys
import traceback
from timeit import default_timer as clock

# Of request and answer. History: 1, the first; 2, training runs; 3, moving averages in the witness, and words for numbers
# that are not finite.
SCHEMA = 3


def main(folder):
    say = event_stream()
    with io.open(os.path.join(folder, "request.json"), encoding="utf-8") as file:
        request = json.load(file)
    if request["schema"] != SCHEMA:
        raise SystemExit("this guest reads requests of schema %d, not %s" % (SCHEMA, request["schema"]))
    write_answer(folder, answer_to(request, say, folder))


def event_stream():
    """Keep stdout for events and send everyone else's prints, C code's too, to stderr."""
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(event, **fields):
        events.write(json.dumps(in_words(dict(fields, event=event))) + "\n")
        events.flush()
    return say


def answer_to(request, say, folder):
    """The answer, whatever happens: a failure is a status with a reason, its traceback on stderr."""
    from adapter import Unsupported
    from witness import WrongWeights
    answer = {"schema": SCHEMA, "status": "ok", "costs_seconds": {}}
    try:
        measure(request, answer, say, folder)
    except Unsupported as reason:
        answer.update(status="unsupported", reason=str(reason))
    except WrongWeights as reason:
        answer.update(status="wrong_witness", reason=str(reason))
    except Exception as error:
        traceback.print_exc()
        answer.update(status=fate_of(error), reason=one_line(error))
    answer["costs_seconds"] = dict((k, round(v, 6)) for k, v in answer["costs_seconds"].items())
    return answer


def fate_of(error):
    words = ("out of memory", "out_of_memory", "resource_exhausted", "bad_alloc", "can't allocate memory")
    starved = isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)
    return "out_of_memory" if starved else "crashed"


def one_line(error):
    text = " ".join(str(error).split())
    return "%s: %s" % (type(error).__name__, text[:300] if text else "no message")


def measure(request, answer, say, folder):
    """Import, build, prove, warm up, sample, train; every finding goes into the answer as soon as it is had."""
    import data
    import facts
    import timing
    import training
    import weights

    costs = answer["costs_seconds"]

    def cost(name, work):
        say("state", state=name)
        start = clock()
        result = work()
        costs[name] = clock() - start
        return result

    answer["facts"] = facts.place()
    module = cost("import", lambda: importlib.import_module("on_" + request["adapter"]))
    adapter = module.ADAPTER(request)
    answer["facts"]["framework"] = adapter.facts()

    workload, layers, seed = request["workload"], request["network"], request["seed"]
    first_batch = data.first_batch(
        workload["data"], workload["batch"], layers[0]["in_shape"], workload["classes"], seed + 1)
    batch, answer["witness"] = prove(adapter, request, first_batch, cost)

    sampling = request["sampling"]
    if sampling is None:
        answer["peak_memory_bytes"] = facts.peak_memory_bytes()
        return

    def step():
        adapter.step(batch)

    say("state", state="warm_up")
    answer["warm_up"] = timing.warm_up(step, adapter.synchronize, sampling, clock)
    say("state", state="sampling")
    answer["samples"] = timing.samples(
        step, adapter.synchronize, sampling, answer["warm_up"], clock,
        lambda sample: say("sample", seconds=sample["seconds"], steps=sample["steps"]))
    answer["facts"]["framework"] = adapter.facts()
    answer["peak_memory_bytes"] = facts.peak_memory_bytes()

    if request["training"]:
        adapter.build(layers, weights.draw(layers, seed))
        answer["training"] = cost("training", lambda: training.train(adapter, folder, request["training"], clock))


def prove(adapter, request, first_batch, cost):
    """The batch in its place and the witness; the adapter is left with the network built for the timed steps."""
    import weights
    import witness

    layers = request["network"]
    proven = weights.without_dropout(layers)
    given = cost("weights", lambda: weights.draw(layers, request["seed"]))
    cost("build", lambda: adapter.build(proven, given))
    cost("read_back", lambda: witness.check_read_back(given, adapter.parameters()))
    batch = adapter.place(*first_batch)

    def on_first_step(run):
        return cost("first_step", run)

    if request["workload"]["mode"] == "inference":
        found = witness.inference_witness(adapter, batch, on_first_step)
    else:
        trainable = set(p["name"] for p in weights.parameters_of(layers) if p["trainable"])
        found = witness.training_witness(adapter, given, trainable, batch, request["witness_steps"], on_first_step)
    found["parameters"] = sum(int(array.size) for array in given.values())

    if proven != layers:
        cost("rebuild", lambda: adapter.build(layers, given))
    return batch, found


def write_answer(folder, answer):
    """Beside and then in place, so that a reader never sees half an answer."""
    path = os.path.join(folder, "answer.json")
    with io.open(path + ".part", "w", encoding="utf-8") as file:
        text = json.dumps(in_words(answer), sort_keys=True, allow_nan=False)
        file.write(text if isinstance(text, type(u"")) else text.decode("utf-8"))
    os.rename(path + ".part", path)


def in_words(value):
    """The value with "nan", "inf" or "-inf" for each number that is not finite, which JSON has no way to write."""
    if isinstance(value, dict):
        return dict((name, in_words(part)) for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return [in_words(part) for part in value]
    if isinstance(value, float) and not value - value == 0:
        return "nan" if value != value else "inf" if value > 0 else "-inf"
    return value


if __name__ == "__main__":
    main(sys.argv[1])
