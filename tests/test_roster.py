"""Who is in the class, and whose a submission is: never a guess."""

import pytest

from scripts.course.pseudonyms import WrongOut, keep_names, pseudonym, secret_of
from scripts.course.report import Row
from scripts.course.roster import (
    BadRoster,
    Person,
    absent,
    keep_roster,
    kept_roster,
    match,
    parse_roster,
    read_roster,
    remarks,
)

CANVAS = """\
Student,ID,SIS User ID,SIS Login ID,Section,01-lab (4711),Final Score
    Points Possible,,,,,100.00,(read only)
"Doe, Jane",12345,S1,jdoe,Section 1,,
"Müller, José",12346,S2,jmueller,Section 1,,
"Student, Test",12399,,0f3c,Section 1,,
"""
PLAIN = "id,name,email\n7,Anna Ny,anna@uni.example\n8,Ny Anna,ny@uni.example\n9,Łukasz O’Hara-Ørn,lo@uni.example\n"


def row(student: str, lab: str = "01-lab", **more) -> Row:
    return Row(student, lab, {"ex1": 10.0}, {"essay": 4.0}, {}, 20, 0, 30, "ok", {}, **more)


def whose(students: list[str], text: str) -> dict[str, tuple[str, str]]:
    return {s: (m.person.id if m.person else "", m.how) for s, m in match(students, parse_roster(text)).items()}


@pytest.mark.parametrize(
    "text, platform, first",
    [
        (CANVAS, "Canvas", Person("Doe, Jane", "S1", "", "jdoe", "12345", "Section 1")),
        (
            CANVAS.replace("SIS User ID,", "").replace(",S1", "").replace(",S2", "").replace("99,,", "99,"),
            "Canvas",
            None,
        ),
        (
            "First name,Last name,ID number,Email address,Groups\nJane,Doe,77,jd@uni.example,A\n",
            "Moodle",
            Person("Doe, Jane", "77", "jd@uni.example", "", "", "A"),
        ),
        (
            "Identifier;Full name;Email address;Grade\nParticipant 512;Jane Doe;jd@uni.example;\n",
            "Moodle",
            Person("Jane Doe", "", "jd@uni.example", "", "512"),
        ),
        (PLAIN, "", Person("Anna Ny", "7", "anna@uni.example")),
        ("Surname\tFirst name\tUsername\nDoe\tJane\tjdoe\n", "", Person("Doe, Jane", login="jdoe")),
    ],
)
def test_what_platforms_export_is_understood(text, platform, first):
    roster = parse_roster(text)
    assert roster.platform == platform
    assert roster.people[0] == (first or Person("Doe, Jane", "", "", "jdoe", "12345", "Section 1"))
    assert not [person for person in roster.people if "Possible" in person.name or "Test" in person.name]


def test_it_says_which_columns_were_recognised():
    assert parse_roster(CANVAS, "class.csv").said == (
        "class.csv: 2 people; recognised columns: Student (name), ID (number), SIS User ID (id), SIS Login ID (login), "
        "Section (section)"
    )


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "names no column that tells people apart"),
        (b"name,grade\nanna,3\n", "names no column that tells people apart"),
        (b"id,name\n", "nobody below it"),
        (b"id,name\n7,Anna\n7,Ben\n", "has id '7' twice"),
        (b"id,name,email\n7,A,a@x\n8,B,A@x\n", "has email 'a@x' twice"),
        ("id,name\n7,Zoë\n".encode("latin-1"), "save it as CSV in UTF-8"),
        (b"PK\x03\x04\xff\xfe\x00id", "save it as CSV in UTF-8"),
        (None, "can't be read: No such file"),
    ],
)
def test_a_bad_file_gets_one_sentence(tmp_path, content, said):
    path = tmp_path / "roster.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadRoster, match=said) as error:
        read_roster(path)
    assert "\n" not in str(error.value)


def test_a_spreadsheets_encodings_are_read(tmp_path):
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "roster.csv").write_text("id\tname\r\n7\tZoë Roe\r\n", encoding=encoding)
        assert keep_roster(tmp_path, tmp_path / "roster.csv").people == [Person("Zoë Roe", "7")]
        assert kept_roster(tmp_path).people == [Person("Zoë Roe", "7")]
    assert kept_roster(tmp_path / "nowhere") is None


def test_whose_a_submission_is():
    assert whose(["doejane_12345", "JDOE", "s1", "Jane Doe", "mullerjose_12346", "José  Müller_9"], CANVAS) == {
        "doejane_12345": ("S1", "by number and name"),
        "JDOE": ("S1", "by login"),
        "s1": ("S1", "by id"),
        "Jane Doe": ("S1", "by name"),
        "mullerjose_12346": ("S2", "by number and name"),
        "José  Müller_9": ("S2", "by name"),
    }
    assert whose(["doe_12345", "anon_12346", "roe_5", "anna"], CANVAS) == {
        "doe_12345": ("S1", "by number"),  # Canvas's own number, and no other name on the roster
        "anon_12346": ("S2", "by number"),
        "roe_5": ("", "nobody on the roster"),
        "anna": ("", "nobody on the roster"),
    }
    assert whose(["ANNA@uni.example", "8", "ohara_orn_lukasz"], PLAIN) == {
        "ANNA@uni.example": ("7", "by e-mail"),
        "8": ("8", "by id"),
        "ohara_orn_lukasz": ("9", "by name"),
    }


def test_what_could_be_two_peoples_is_nobodys():
    ny = "could be Anna Ny (7) or Ny Anna (8)"
    assert whose(["Anna Ny", "nyanna_3", "anna_ny_8"], PLAIN) == {
        "Anna Ny": ("", ny),
        "nyanna_3": ("", ny),
        "anna_ny_8": ("8", "by number and name"),
    }
    # a number of Moodle's that is another person's id by chance, and one that is nobody's own
    assert whose(["Łukasz O’Hara-Ørn_7"], PLAIN)["Łukasz O’Hara-Ørn_7"][0] == ""
    assert whose(["somebody_7"], PLAIN) == {"somebody_7": ("", "could be Anna Ny (7)")}
    twins = "id,name\n1,José Roe\n2,Jose Roe\n"
    assert whose(["jose roe"], twins) == {"jose roe": ("", "could be José Roe (1) or Jose Roe (2)")}


def test_who_is_not_on_the_roster_or_there_twice_is_named():
    matches = match(["Jane Doe_1", "Jane Doe_2", "stranger"], parse_roster(CANVAS))
    assert remarks(matches) == ["stranger: nobody on the roster", "Jane Doe_1 and Jane Doe_2 are all Doe, Jane (S1)"]


def test_who_handed_in_nothing_has_a_row():
    roster = parse_roster(PLAIN)
    rows = [row("8"), row("8", "02-lab", handed_in=False), row("9", "02-lab"), row("Anna Ny", "02-lab")]
    found = absent(roster, rows, match(["8", "9", "Anna Ny"], roster))
    # of lab 02 one of the two could have handed in what is called Anna Ny, and there is a row for the other
    assert [(person.id, r.student, r.lab) for person, r in found] == [("7", "Anna Ny", "01-lab"), ("9", "9", "01-lab")]
    assert {(r.total, r.max, r.handed_in, r.graded, r.status) for _, r in found} == {
        (0, 30, False, False, "nothing was handed in")
    }


def test_a_pseudonym_is_the_same_for_the_same_student(tmp_path):
    assert secret_of(tmp_path, wanted=False) is None
    secret = secret_of(tmp_path, wanted=True)
    assert secret_of(tmp_path, wanted=False) == secret  # once used, always used
    names = {pseudonym(f"student {i}", secret) for i in range(1000)}
    assert len(names) == 1000 and all(name.startswith("student-") and len(name) == 18 for name in names)
    assert pseudonym("Zoë", secret) == pseudonym("ZOË", secret) != pseudonym("Zoë", b"another")
    keep_names(tmp_path, ["Zoë"], secret)
    keep_names(tmp_path, ["=Ben, or not"], secret)
    path = tmp_path / "pseudonyms" / "names.csv"
    assert sorted(path.read_text(encoding="utf-8-sig").splitlines()) == sorted(
        [
            "pseudonym,student",
            f"{pseudonym('Zoë', secret)},Zoë",
            f'{pseudonym("=Ben, or not", secret)},"\'=Ben, or not"',
        ]
    )
    assert {file.stat().st_mode & 0o077 for file in path.parent.iterdir()} == {0}


def test_grades_under_names_do_not_become_pseudonyms(tmp_path):
    (tmp_path / "course" / "results" / "anna").mkdir(parents=True)
    (tmp_path / "course" / "results" / "anna" / "01-lab.json").write_text("{}")
    with pytest.raises(WrongOut, match="give another OUT"):
        secret_of(tmp_path, wanted=True)
    assert secret_of(tmp_path, wanted=False) is None
