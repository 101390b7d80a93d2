"""What several hosts have to say in the same words is said once."""

from __future__ import annotations

from opsqueue.model.alike import alike, for_all, told, who

KEYS = ("a" * 43, "b" * 43)


def _untrusted(name: str, port: int, key: str) -> str:
    return (
        f"{name} (127.0.0.1:{port}) is not trusted: wanted a pinned host key, found none; it shows ssh-ed25519 "
        f"SHA256:{key}. Compare that with `ssh-keygen -lf` on the host, then `opsqueue hosts trust {name}`."
    )


def test_one_host_is_named_once_and_keeps_its_address():
    said = "web-1 (10.0.0.1:22) refused the connection"
    assert told([("web-1", said)]) == said
    assert told([("web-1", f"web-1: {said}")]) == said
    assert told([("web-1", "nginx is down")]) == "web-1: nginx is down"
    ((_, one),) = alike([("web-1", said)], lambda pair: pair)
    assert one.beside == "10.0.0.1:22 refused the connection"


def test_the_same_of_many_is_said_once_with_one_command_for_all():
    pairs = [(f"web-{n}", _untrusted(f"web-{n}", 2200 + n, KEYS[n % 2])) for n in range(1, 6)]
    assert told(pairs) == (
        "web-1 … web-5 (5 hosts): not trusted: wanted a pinned host key, found none; it shows a key of its own. "
        "Compare that with `ssh-keygen -lf` on the host, then `opsqueue hosts trust web-1 web-2 web-3 web-4 web-5`."
    )


def test_a_command_for_one_host_at_a_time_is_not_given_many():
    text = "{} is reached by its own worker only: `opsqueue worker --host {}`, on it"
    assert told([(name, text.format(name, name)) for name in ("w-1", "w-2")]) == (
        "w-1, w-2: reached by its own worker only: `opsqueue worker --host HOST`, on it"
    )


def test_what_differs_stays_apart_and_so_does_another_key_in_place_of_the_pinned_one():
    changed = "{} (10.0.0.1:22) shows another host key than the pinned one: wanted x, found ssh-ed25519 SHA256:{}"
    pairs = [("a", changed.format("a", KEYS[0])), ("b", changed.format("b", KEYS[1])), ("c", "disk full")]
    assert told(pairs).count("; ") == 2
    assert all(f"SHA256:{key}" in told(pairs) for key in KEYS)
    assert told([(f"h{n}", f"{n} is wrong") for n in range(8)], most=5).endswith("; and 3 more")


def test_a_name_within_another_is_left_alone():
    pairs = [("web-1", "web-10 and web-1.example say no"), ("web-2", "web-10 and web-1.example say no")]
    assert told(pairs) == "web-1, web-2: web-10 and web-1.example say no"


def test_names_are_few_in_a_sentence_and_all_in_a_command():
    assert who(["a"]) == "a"
    assert who(["a", "b", "c"]) == "a, b, c"
    assert who(["a", "b", "c", "d"]) == "a … d (4 hosts)"
    many = [f"h{n}" for n in range(30)]
    assert for_all(many, "`opsqueue hosts trust h0`").endswith("h18 h19 …`")
    assert for_all(["h0"], "`opsqueue hosts trust h0`") == "`opsqueue hosts trust h0`"


def test_what_is_about_no_host_stands_alone():
    assert told([("", "it took long")]) == "it took long"
