from pathlib import Path

import pytest

from conftest import Store
from port_daddy import InvalidError, NotOwnerError


def test_a_backup_is_made_looked_into_and_put_back(store: Store) -> None:
    pd = store.open("a")
    pd.note("one")
    file = store.db.parent / "backup"
    made = pd.backup(file)
    assert made.file == str(file) and made.bytes > 0 and made.seq > 0
    with pytest.raises(InvalidError):
        pd.backup(file)
    pd.backup(file, force=True)
    lost = pd.note("two")
    with store.open("reader", db=file) as copy:
        assert [note.text for note in copy.notes().notes] == ["one"]
    restored = pd.restore(file)
    assert (restored.db, restored.file, restored.was_damaged) == (str(store.db), str(file), False)
    assert restored.kept is not None and Path(restored.kept).exists()
    after = pd.note("three")
    assert after.note.seq > lost.note.seq
    assert [note.text for note in pd.notes().notes] == ["one", "three"]
    lock = pd.lock("m")
    assert lock is not None
    with pytest.raises(NotOwnerError):
        pd.restore(file)
    assert pd.restore(file, force=True, keep=False).kept is None
    lock.release()
