"""A product table through the catalogue flow: what has changed is made, what has not is left alone, all is counted."""

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from datasets.ledger import Ledger, StageRecord, open_ledger
from datasets.settings import read_settings
from flows.catalogue import CatalogueOrder, CatalogueSummary, plan_catalogue, run_catalogue
from tests.flows.catalogue_shop import Shop
from tests.services.picture_server import PictureServer, serve

ROWS = 24


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Shop, PictureServer]]:
    """A shop with pictures, and the server they come from."""
    made = Shop(tmp_path / "shop")
    made.add(ROWS)
    with serve(made.served) as server:
        made.base = f"http://{server.address}"
        monkeypatch.setenv("STILLMOTION_FETCH_ALLOW", server.address)
        made.write()
        yield made, server


def order(shop: Shop, **values: object) -> CatalogueOrder:
    given = {"table": str(shop.table), "recipe": "thumbnails", "out": str(shop.folder / "out"), "batch_size": 16}
    return CatalogueOrder.model_validate(given | values)


def run(shop: Shop, **values: object) -> CatalogueSummary:
    return run_catalogue(order(shop, **values), read_settings())


def plan(shop: Shop, **values: object) -> CatalogueSummary:
    return plan_catalogue(order(shop, **values), read_settings())


def ledger() -> Ledger:
    return open_ledger(read_settings().ledger)


def stages(summary: CatalogueSummary) -> list[StageRecord]:
    with ledger().session("default") as session:
        return session.stages(summary.run_id)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_only_what_changed_is_made_again(shop: tuple[Shop, PictureServer]) -> None:
    """Three pictures change behind their URLs, two rows go, two come: five are made, two retire."""
    made, server = shop
    first = run(made)
    assert (first.status, first.exit_status, dict(first.changes)) == ("delivered", 0, {"added": ROWS})
    assert dict(first.executed) == {"intake": ROWS, "thumbnails": ROWS}
    manifest = pl.read_parquet(str(first.manifest))
    assert manifest.height == 3 * ROWS  # three sizes
    assert all(Path(path).is_file() for path in manifest["path"])
    before = files(made.folder / "out" / "pictures")

    server.forget()
    again = run(made)
    assert dict(again.changes) == {"unchanged": ROWS}
    assert (again.worked, dict(again.executed), stages(again)) == (0, {}, [])
    assert dict(server.statuses) == {304: ROWS}
    assert files(made.folder / "out" / "pictures") == before
    assert pl.read_parquet(str(again.changes_file)).height == 0

    for number in (3, 7, 20):
        made.put(number, version=1)
    for sku in ("P-00001", "P-00021"):
        del made.products[sku]
    made.add(2, first=ROWS)
    made.write()
    foreseen = plan(made)
    server.forget()
    third = run(made)
    assert dict(third.changes) == {"added": 2, "changed": 3, "unchanged": ROWS - 5, "retired": 2}
    assert (third.redone, dict(third.executed)) == (5, {"intake": 5, "thumbnails": 5})
    assert dict(server.statuses) == {304: ROWS - 5, 200: 5}
    assert foreseen.plan is not None
    assert (foreseen.plan["to_run"], foreseen.plan["unchanged"], foreseen.plan["retired"]) == (5, ROWS - 5, 2)
    assert dict(foreseen.changes) == dict(third.changes)
    listed = pl.read_parquet(str(third.changes_file))
    assert sorted(listed.filter(pl.col("change") == "changed")["sku"]) == ["P-00003", "P-00007", "P-00020"]
    assert sorted(listed.filter(pl.col("change") == "retired")["sku"]) == ["P-00001", "P-00021"]
    gone = pl.read_parquet(str(third.manifest)).filter(pl.col("change") == "retired")
    assert gone.height == 6
    assert all(Path(path).is_file() for path in gone["path"])  # retired is not deleted


def test_a_dry_run_writes_nothing_and_foresees_the_run(shop: tuple[Shop, PictureServer]) -> None:
    made, server = shop
    foreseen = plan(made)
    assert foreseen.plan is not None
    assert (foreseen.status, foreseen.plan["to_run"], foreseen.plan["seconds"]) == ("planned", ROWS, None)
    assert server.statuses.total() == 0  # new pictures would run anyway
    assert not (made.folder / "out").exists()
    with ledger().session("default") as session:
        assert session.runs() == []
        assert session.find_catalogue("products") is None
    done = run(made)
    assert done.worked == ROWS
    store = Path(read_settings().storage_root)
    kept = files(made.folder), {name: facts for name, facts in files(store).items() if "ledger.db" not in name}
    made.put(5, version=1)
    before = files(made.folder)
    second = plan(made)
    assert second.plan is not None
    assert (second.plan["to_run"], second.plan["unchanged"]) == (1, ROWS - 1)
    assert isinstance(second.plan["seconds"], float)
    assert (files(made.folder), kept[1]) == (
        before,
        {name: facts for name, facts in files(store).items() if "ledger.db" not in name},
    )


def test_the_same_picture_is_made_once_and_delivered_for_all(shop: tuple[Shop, PictureServer]) -> None:
    """Behind one URL, behind two, and again behind a new one later."""
    made, _ = shop
    made.products = dict(list(made.products.items())[:4])
    made.products["TWIN-1"] = made.products["P-00000"]
    (made.served / "copy.jpg").write_bytes((made.served / "p00000.jpg").read_bytes())
    made.products["TWIN-2"] = "copy.jpg"
    made.write()
    first = run(made)
    assert dict(first.executed) == {"intake": 4, "thumbnails": 4}
    assert dict(first.changes) == {"added": 6}
    manifest = pl.read_parquet(str(first.manifest)).filter(pl.col("item").is_in(["P-00000", "TWIN-1", "TWIN-2"]))
    assert manifest.group_by("item").agg(pl.col("sha256").sort())["sha256"].n_unique() == 1
    made.products["P-00000"] = "copy.jpg"
    made.write()
    moved = run(made)
    assert (dict(moved.changes), moved.worked) == ({"unchanged": 6}, 0)


def test_failures_are_named_kept_and_tried_again_only_where_that_helps(shop: tuple[Shop, PictureServer]) -> None:
    made, server = shop
    made.break_picture(2)
    (made.served / "p00003.jpg").unlink()
    made.extra = [
        ["p-00004 ", f"{made.base}/p00004.jpg"],
        ["X-1", "file:///etc/passwd"],
        ["", f"{made.base}/p00005.jpg"],
    ]
    made.write()
    first = run(made, failure_budget=0.5)
    assert (first.status, first.exit_status) == ("failed", 1)
    assert dict(first.changes) == {"added": ROWS - 2, "failed": 5}
    codes = {row["line"]: row["reasons"][0]["code"] for row in first.failed}  # type: ignore[index]
    assert codes == {
        4: "truncated", 5: "fetch_not_found", 26: "sku_duplicate", 27: "image_scheme_refused", 28: "sku_missing",
    }  # fmt: skip
    server.forget()
    again = run(made, failure_budget=0.5)
    assert dict(again.changes) == {"unchanged": ROWS - 2, "failed": 5}
    assert stages(again) == []  # the broken picture is the same, so it would only fail again
    assert dict(server.statuses) == {304: ROWS - 1, 404: 1}
    made.put(2)
    made.put(3)
    made.extra = []
    made.write()
    third = run(made)
    assert dict(third.changes) == {"unchanged": ROWS - 2, "recovered": 2, "retired": 1}  # X-1, which had a SKU
    assert third.exit_status == 0


def test_what_was_delivered_stays_while_its_server_is_away(shop: tuple[Shop, PictureServer]) -> None:
    made, _ = shop
    run(made)
    hidden = made.served.rename(made.folder / "hidden")
    away = run(made, failure_budget=1.0)
    assert dict(away.changes) == {"failed": ROWS}
    assert pl.read_parquet(str(away.manifest)).filter(pl.col("role") == "thumbnail").height == 3 * ROWS
    hidden.rename(made.served)
    back = run(made)
    assert (dict(back.changes), dict(back.executed)) == ({"recovered": ROWS}, {})


def test_a_run_stops_when_too_much_fails_and_goes_on_later(shop: tuple[Shop, PictureServer]) -> None:
    made, _ = shop
    for number in range(8, ROWS):
        made.break_picture(number)
    stopped = run(made, batch_size=1)
    assert (stopped.status, stopped.exit_status) == ("failed", 1)
    assert [reason["code"] for reason in stopped.reasons] == ["failure_budget"]
    assert sum(stopped.counts.values()) < ROWS
    for number in range(8, ROWS):
        made.put(number)
    done = run(made)
    assert dict(done.counts) == {"delivered": ROWS}
    assert "unchanged" not in done.changes  # compared with the last whole run, of which there is none


def test_a_table_that_shrank_is_not_begun(shop: tuple[Shop, PictureServer]) -> None:
    made, server = shop
    run(made)
    made.products = dict(list(made.products.items())[:10])
    made.write()
    server.forget()
    refused = run(made)
    assert (refused.exit_status, server.statuses.total()) == (1, 0)
    assert "table_shrunk" in [reason["code"] for reason in refused.reasons]
    assert "retired" not in refused.changes
    assert dict(run(made, shrink_limit=1.0).changes) == {"unchanged": 10, "retired": ROWS - 10}


def test_deleted_and_touched_files_are_delivered_again_and_nothing_is_computed(
    shop: tuple[Shop, PictureServer],
) -> None:
    made, _ = shop
    first = pl.read_parquet(str(run(made).manifest))
    deleted, changed = Path(first["path"][0]), Path(first["path"][-1])
    deleted.unlink()
    changed.write_bytes(bytes(changed.stat().st_size))
    again = run(made)
    assert (again.worked, dict(again.executed), dict(again.changes)) == (2, {}, {"unchanged": ROWS})
    assert deleted.is_file()
    assert any(changed.read_bytes())


def test_rows_have_recipes_and_parameters_of_their_own(shop: tuple[Shop, PictureServer]) -> None:
    made, _ = shop
    lines = ["sku,image_url,how,sizes"]
    lines += [f"A,{made.base}/p00000.jpg,,", f'B,{made.base}/p00001.jpg,,"[48,24]"']
    lines += [f"C,{made.base}/p00002.jpg,posters,", f"D,{made.base}/p00003.jpg,thumbnails,9999999"]
    made.table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    mapping = {"recipe": "how", "parameters": {"thumbnails.sizes": "sizes"}}
    done = run(made, mapping=mapping, failure_budget=1.0)
    codes = {row["sku"]: row["reasons"][0]["code"] for row in done.failed}  # type: ignore[index]
    assert codes == {"C": "recipe_unknown", "D": "parameter_invalid"}
    manifest = pl.read_parquet(str(done.manifest)).filter(pl.col("role").is_not_null())
    assert manifest.group_by("sku").len().sort("sku").rows() == [("A", 3), ("B", 2)]
    assert set(manifest.filter(pl.col("sku") == "B")["width"]) <= set(range(1, 49))


def test_local_pictures_are_known_by_their_content(shop: tuple[Shop, PictureServer]) -> None:
    made, server = shop
    made.base = "served"
    made.write()
    assert dict(run(made).changes) == {"added": ROWS}
    path = made.served / "p00001.jpg"
    path.write_bytes(path.read_bytes())  # written again, the same
    made.put(2, version=1)
    again = run(made)
    assert dict(again.changes) == {"changed": 1, "unchanged": ROWS - 1}
    assert (again.worked, server.statuses.total()) == (1, 0)


def test_the_document_is_plain_json_and_bounded(shop: tuple[Shop, PictureServer]) -> None:
    made, _ = shop
    made.extra = [[f"X-{number}", "javascript:alert(1)"] for number in range(150)]
    made.write()
    document = json.loads(json.dumps(run(made, failure_budget=1.0).to_json()))
    assert document["counts"] == {"delivered": ROWS, "failed": 150}
    assert len(document["items"]) == 100
    manifest = pl.read_parquet(document["manifest"])
    assert manifest.filter(pl.col("status") == "failed").height == 150
    page = Path(document["report"]).read_text(encoding="utf-8")
    assert "javascript:alert" not in page.split("<main>")[0]
    assert "150 × image_scheme_refused" in page
