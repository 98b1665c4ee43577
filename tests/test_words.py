"""Words in texts of any script."""

import unicodedata

import pytest

from scripts.interp.base.words import mentions


@pytest.mark.parametrize(
    "text, word, places",
    [
        ("Mary saw Maryville and Mary.", "Mary", [0, 23]),
        ("mary_ann, Ann", "ann", []),
        ("a, b, c", ",", [1, 4]),
        ("Übermut und Mut", "Mut", [12]),
        ("Иван и Иванов", "Иван", [0]),
        ("राम और रामा", "राम", [0]),  # a vowel sign is a mark, not a letter
        ("Rene\u0301 and Rene", "Rene", [10]),
        ("Rene\u0301 left", "Rene\u0301", [0]),
        ("约翰和玛丽去了商店，约翰", "约翰", [0, 10]),
        ("太郎は花子に本を", "花子", [3]),
        ("สมชายให้สมหญิง", "สมชาย", [0]),
        ("Tom和Mary", "Mary", [4]),
    ],
)
def test_where_words_stand(text, word, places):
    assert [start for start, _ in mentions(text, word)] == places
    assert all(text[start:end] == word for start, end in mentions(text, word))


def test_another_unicode_form_is_named():
    composed, decomposed = (unicodedata.normalize(form, "René") for form in ("NFC", "NFD"))
    for text, word in ((f"When {composed} left", decomposed), (f"When {decomposed} left", composed)):
        with pytest.raises(ValueError, match="another Unicode form"):
            mentions(text, word)
    assert mentions(f"When {composed}e left", decomposed) == []
