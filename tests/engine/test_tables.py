from xmg.engine.tables import Cell, Table, to_markdown


def test_markdown():
    table = Table("left out", ["a|b", "n"], [["x", Cell(" ± 1", "2|")], ["y", "-"]])
    assert to_markdown(table) == ("| a\\|b | n |\n| --- | --- |\n| x | **2\\|** ± 1 |\n| y | - |")
    assert table.cells[1] == [Cell("y"), Cell("-")]
