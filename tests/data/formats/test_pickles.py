"""The unpickler that builds nothing but arrays and plain containers."""

import collections
import copyreg
import fractions
import functools
import os
import pickle
import struct
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from autometa.data import DataError
from autometa.data.formats.pickles import STAYS, PickledArray, load, text

PROTOCOLS = range(6)


def read(folder, content):
    path = folder / "some.pkl"
    path.write_bytes(content)
    return load(path)


def plain(value):
    """Arrays opened, all else as it is."""
    if isinstance(value, PickledArray):
        return value.open()
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(entry) for entry in value)
    return value


def assert_equal(got, wanted):
    if isinstance(wanted, np.ndarray):
        assert got.dtype == wanted.dtype and np.array_equal(got, wanted, equal_nan=wanted.dtype.kind in "fc")
    elif isinstance(wanted, dict):
        assert list(got) == list(wanted)
        for key in wanted:
            assert_equal(got[key], wanted[key])
    elif isinstance(wanted, (list, tuple)):
        assert type(got) is type(wanted) and len(got) == len(wanted)
        for one, other in zip(got, wanted, strict=True):
            assert_equal(one, other)
    else:
        assert type(got) is type(wanted) and got == wanted


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
KEYS = st.text() | st.integers() | st.binary()
ARRAYS = hnp.arrays(
    st.sampled_from(["u1", "<i8", ">i4", "<f4", "?", "S3", "<U2", "c8"]), hnp.array_shapes(max_dims=3, max_side=4)
)
VALUES = st.recursive(
    SCALARS | ARRAYS | st.sets(st.integers()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.lists(inner, max_size=5).map(tuple)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, protocol=st.sampled_from(PROTOCOLS))
def test_plain_values_come_back(tmp_path, value, protocol):
    assert_equal(plain(read(tmp_path, pickle.dumps(value, protocol))), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("numpy", (b"numpy.core", b"numpy._core"))
@pytest.mark.parametrize("order", ("C", "F", "transposed", "sliced"))
@pytest.mark.parametrize("side", (3, 200), ids=("small", "large"))
def test_arrays_of_any_numpy_and_order(tmp_path, protocol, numpy, order, side):
    array = np.random.default_rng(side).integers(0, 256, (7, side, side, 3), dtype=np.uint8)
    if order == "F":
        array = np.asfortranarray(array)
    elif order != "C":
        array = array.transpose(2, 0, 1, 3) if order == "transposed" else array[1::2, ::-1]
    content = pickle.dumps({"image_data": array, "again": [array]}, protocol)
    for module in (b".multiarray", b".numeric"):
        for old in (b"numpy._core", b"numpy.core"):
            for short in (b"c%s", b"\x8c%s"):
                was, now = old + module, numpy + module
                if short == b"c%s":
                    content = content.replace(b"c" + was + b"\n", b"c" + now + b"\n")
                else:
                    content = content.replace(b"\x8c%c%s" % (len(was), was), b"\x8c%c%s" % (len(now), now))
    assert numpy in content
    got = read(tmp_path, content)
    assert np.array_equal(got["image_data"].open(), array) and got["again"][0] is got["image_data"]
    if side == 200 and protocol > 2 and order == "C":
        window = got["image_data"].window
        assert len(window) == array.size > STAYS
        assert isinstance(got["image_data"].open(), np.memmap)
        assert content[window.offset : window.offset + len(window)] == array.tobytes()


def python2(value):
    """As Python 2.7 pickles with protocol 2: strings as bytes without encoding."""
    if isinstance(value, bytes):
        return b"U%c%s" % (len(value), value) if len(value) < 256 else b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, dict):
        return b"}(" + b"".join(python2(key) + python2(entry) for key, entry in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(python2, value)) + b"e"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    assert value.dtype == np.uint8
    shape = b"(" + b"".join(b"J" + struct.pack("<i", side) for side in value.shape) + b"t"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    return start + b"(K\x01" + shape + dtype + b"\x89" + python2(value.tobytes()) + b"tb"


@pytest.mark.parametrize("side", (2, 200), ids=("small", "large"))
def test_pickles_of_python_2(tmp_path, side):
    array = np.random.default_rng(side).integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    got = read(tmp_path, b"\x80\x02" + python2({b"image_data": array, b"n\xc3\xa4": [0, 70000]}) + b".")
    assert np.array_equal(got[b"image_data"].open(), array) and (got[b"image_data"].window is not None) == (side == 200)
    assert got[b"n\xc3\xa4"] == [0, 70000] and [text(key) for key in got] == ["image_data", "nä"]
    assert text(b"\xe4") == "ä"
    ascii_form = b"(dp0\nS'a\\xff\\n'\np1\n(lp2\nI1\naL5L\naI01\nasS\"it's\"\nF2.5\ns."
    assert read(tmp_path, ascii_form) == {b"a\xff\n": [1, 5, True], b"it's": 2.5}
    ordered = b"ccollections\nOrderedDict\n(](](U\x01aK\x01e](U\x01bK\x02eetR."
    assert list(read(tmp_path, ordered).items()) == [(b"a", 1), (b"b", 2)]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_containers_become_plain(tmp_path, protocol):
    lists = collections.defaultdict(list)
    lists["a"].append(1)
    value = [collections.OrderedDict(b=1, a=2), lists, {1, 2}, bytearray(b"ab"), frozenset({3}), b"", np.float32(0.5)]
    value += [np.int64(-3), np.bool_(True), np.str_("x"), 10**30]
    got = read(tmp_path, pickle.dumps(value, protocol))
    assert got[:6] == [{"b": 1, "a": 2}, {"a": [1]}, {1, 2}, b"ab", {3}, b""] and list(got[0]) == ["b", "a"]
    assert got[6:] == [0.5, -3, True, "x", 10**30] and type(got[1]) is dict and type(got[7]) is int


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments, state=None):
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.reduced


class Own:
    pass


def reaches(folder):
    return f"touch {folder}/reached"


ATTACKS = {
    "os.system": (lambda folder: Calls(os.system, reaches(folder)), r"(posix|nt)\.system"),
    "builtins.eval": (lambda folder: Calls(eval, f"open('{folder}/reached', 'w')"), r"(builtins|__builtin__)\.eval"),
    "builtins.exec": (lambda folder: Calls(exec, f"open('{folder}/reached', 'w')"), r"(builtins|__builtin__)\.exec"),
    "builtins.getattr": (lambda folder: Calls(getattr, [], "append"), r"(builtins|__builtin__)\.getattr"),
    "builtins.open": (lambda folder: Calls(open, f"{folder}/reached", "w"), r"io\.open"),
    "functools.partial": (lambda folder: functools.partial(os.system, reaches(folder)), r"functools\.partial"),
    "own class": (lambda folder: Own(), r"Own|copyreg?\._reconstructor|copy_reg\._reconstructor"),
    "fraction": (lambda folder: fractions.Fraction(1, 2), r"fractions\.Fraction"),
    "copyreg": (lambda folder: Calls(copyreg._reconstructor, Own, object, None), r"copy_?reg\._reconstructor"),
    "numpy.load": (lambda folder: Calls(np.load, f"{folder}/x.npy"), r"numpy\.load"),
    "numpy.fromfile": (lambda folder: Calls(np.fromfile, f"{folder}/x"), r"numpy.*\.fromfile"),
    "numpy.memmap": (lambda folder: Calls(np.memmap, f"{folder}/reached", "u1", "w+", 0, 9), r"numpy\.memmap"),
    "object array": (lambda folder: np.array([Calls(os.system, reaches(folder))], dtype=object), None),
    "record array": (lambda folder: np.zeros(2, [("a", "u1"), ("b", "O")]), None),
    "state of a dict": (lambda folder: Calls(collections.OrderedDict, state={"update": 1}), "state of a dict"),
    "state with code": (lambda folder: Calls(set, [], state=Calls(os.system, reaches(folder))), r"(posix|nt)\.system"),
    "factory": (lambda folder: collections.defaultdict(eval), r"(builtins|__builtin__)\.eval"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("place", ("bare", "nested", "key"))
@pytest.mark.parametrize("kind", ATTACKS)
def test_code_is_refused_and_never_run(tmp_path, kind, place, protocol):
    make, names = ATTACKS[kind]
    value = make(tmp_path)
    if place == "nested":
        value = {"image_data": np.zeros((2, 2), np.uint8), "class_dict": {"a": [0, ({"b": [value]},)]}}
    elif place == "key":
        value = [(1, value), value]
    with pytest.raises(DataError, match=names or "arrays of|array has") as told:
        read(tmp_path, pickle.dumps(value, protocol))
    assert not (tmp_path / "reached").exists() and "\n" not in str(told.value)
    if names and kind != "state of a dict":
        assert "which no data set needs; it was not run: do not use this file" in str(told.value)


def unicode(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


RAW = {
    "import of a module": (b"cantigravity\nfly\n.", "asks for antigravity.fly"),
    "import by stack": (b"\x80\x04" + unicode("antigravity") + unicode("fly") + b"\x93.", "asks for antigravity.fly"),
    "name from the memo": (
        b"\x80\x04" + unicode("os") + b"q\x00" + unicode("system") + b"q\x010h\x00h\x01\x93.",
        "asks for os.system",
    ),
    "dotted name": (
        b"\x80\x04" + unicode("numpy") + unicode("ndarray.tofile") + b"\x93.",
        "asks for numpy.ndarray.tofile",
    ),
    "private numpy": (b"cnumpy.core.multiarray\nscalar.__class__\n.", "scalar.__class__"),
    "control characters": (b"\x80\x04" + unicode("o\x1b[2Js") + unicode("a\nb") + b"\x93.", r"asks for 'o\\x1b"),
    "INST": (b"(S'echo'\nios\nsystem\n.", "operation INST"),
    "INST of an allowed name": (b"(i__builtin__\nlist\n.", "operation INST"),
    "OBJ": (b"(c__builtin__\nlist\nU\x01ao.", "operation OBJ"),
    "NEWOBJ": (b"cnumpy\nndarray\n(K\x01t\x81.", "operation NEWOBJ"),
    "NEWOBJ_EX": (b"cnumpy\nndarray\n(K\x01t}\x92.", "operation NEWOBJ_EX"),
    "EXT1": (b"\x82\x01.", "operation EXT1"),
    "PERSID": (b"Pname\n.", "operation PERSID"),
    "BINPERSID": (b"K\x01Q.", "operation BINPERSID"),
    "NEXT_BUFFER": (b"\x97.", "operation NEXT_BUFFER"),
    "state of a name": (b"cnumpy\nndarray\n}b.", "set the state of a function"),
    "call of a type": (b"c__builtin__\nlist\n(t" + b"R.", "a type is called"),
    "call of a string": (b"U\x01a(tR.", "called that is no function"),
    "codec with code": (b"c_codecs\nencode\n(X\x01\0\0\0aX\x05\0\0\0rot13tR.", "unknown encoding 'rot13'"),
    "subclass of arrays": (b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nlist\nK\0tR.", "kind of its own"),
    "dtype of objects": (b"cnumpy\ndtype\n(U\x02O8tR.", "arrays of type 'O8' are not read"),
    "dtype by expression": (b"cnumpy\ndtype\n(U\x05u1,O8tR.", "arrays of type 'u1,O8' are not read"),
    "dtype without size": (b"cnumpy\ndtype\n(U\x02S0tR.", "hold nothing"),
    "scalar object": (b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(U\x02O8tRU\x01atR.", "'O8' are not read"),
    "too few bytes": (
        b"cnumpy.core.numeric\n_frombuffer\n(U\x02abcnumpy\ndtype\n(U\x02u1tR(K\x09tU\x01CtR.",
        r"shape \[9\] has 2 bytes",
    ),
    "endless and empty": (
        b"cnumpy.core.numeric\n_frombuffer\n(U\x00cnumpy\ndtype\n(U\x02u1tR(J\xff\xff\xff\x7fK\0tU\x01CtR.",
        r"shape \[2147483647, 0\] has 0 bytes",
    ),
    "negative": (
        b"cnumpy.core.numeric\n_frombuffer\n(U\x01acnumpy\ndtype\n(U\x02u1tR(J\xff\xff\xff\xffJ\xff\xff\xff\xfftU\x01CtR.",
        "unknown shape",
    ),
    "nested key": (b"}K\x01\x85K\x02s.", "a tuple is used as a key"),
    "list as key": (b"}]K\x02s.", "a list is used as a key"),
    "too many bytes": (
        b"cnumpy.core.numeric\n_frombuffer\n(U\x02abcnumpy\ndtype\n(U\x02u1tR(K\x01tU\x01CtR.",
        r"shape \[1\] has 2 bytes",
    ),
    "huge number": (b"\x8b" + struct.pack("<i", STAYS + 1) + bytes(STAYS + 1) + b".", "a number is too long"),
    "long number": (b"\x8b\xff\xff\xff\x7f.", "too long"),
    "long text": (b"X\xff\xff\xff\xffab.", "ends too early"),
    "long bytes": (b"\x8e" + b"\xff" * 8 + b"ab.", "ends too early"),
    "append to a tuple": (b")K\x01a.", "no pickle that can be read"),
    "empty stack": (b"0.", "no pickle that can be read"),
    "no such memo": (b"h\x07.", "no pickle that can be read"),
    "odd dict": (b"}(K\x01u.", "a key has no value"),
    "protocol 6": (b"\x80\x06N.", "protocol: 6"),
    "empty file": (b"", "ends too early"),
    "web page": (b"<html><body>quota exceeded</body></html>", "a web page, not a pickle"),
    "text": (b"hello", "no pickle that can be read"),
    "zeros": (bytes(100), "no pickle operation"),
    "two results": (b"NN.", "ends in the middle"),
}


@pytest.mark.parametrize("kind", RAW)
def test_hand_made_pickles_are_refused(tmp_path, kind):
    content, message = RAW[kind]
    with pytest.raises(DataError, match=message) as told:
        read(tmp_path, content)
    assert str(tmp_path / "some.pkl") in str(told.value) and "antigravity" not in sys.modules
    assert str(told.value).isprintable()


def test_shared_tuples_are_not_taken_for_ever(tmp_path):
    doubled = b")" + b"2\x86" * 4000
    with pytest.raises(DataError, match="a tuple is used as a key"):
        read(tmp_path, b"}" + doubled + b"Ns.")
    assert len(read(tmp_path, doubled + b".")) == 2


def test_every_cut_of_a_pickle_is_told(tmp_path):
    whole = pickle.dumps({"image_data": np.arange(12, dtype=np.uint8), "class_dict": {"a": [0, 1]}}, 4)
    for length in range(len(whole)):
        with pytest.raises(DataError, match="get the file again"):
            read(tmp_path, whole[:length])
    large = pickle.dumps(np.zeros(2 * STAYS, np.uint8), 4)
    with pytest.raises(DataError, match="ends too early"):
        read(tmp_path, large[:-STAYS])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), protocol=st.sampled_from(PROTOCOLS))
def test_damage_never_escapes(tmp_path, data, protocol):
    value = {"image_data": np.arange(6, dtype=np.uint8), "class_dict": {"a": [0, 1], "b": (2.5, None, {7})}}
    content = bytearray(pickle.dumps(value, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(tmp_path, bytes(content))
    except DataError as error:
        assert "some.pkl" in str(error)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60))
def test_noise_never_escapes(tmp_path, content):
    try:
        read(tmp_path, content)
    except DataError as error:
        assert "some.pkl" in str(error)


def test_missing_files_are_told(tmp_path):
    with pytest.raises(DataError, match="none.pkl cannot be read.*check the path"):
        load(tmp_path / "none.pkl")
