"""Every command and Python snippet in README, docs and help works as written.

Commands run in order in one sandbox per page, on tiny pictures, with settings appended that make
them quick; snippets run after the commands, because they use what those made.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import photographs
import pytest
import torch
from PIL import Image, ImageFilter

import dsunet.predict
from dsunet.cli import main
from dsunet.data.synthetic import synthetic_pair, write_synthetic
from exports import kept_in
from helpers import ROOT, lay_out
from pages import blocks, commands, examples
from runs import write_classes
from served import served
from trials import trial_of
from weightfiles import dinov2_file, published_state, sam2_file

pytestmark = pytest.mark.slow

QUICK = {
    "train": "--epochs 1 --warmup-epochs 0 --batch-size 2 --workers 0 --device cpu "
    "--sam-size 128 --dino-size 112",
    "plan": "--epochs 1 --warmup-epochs 0 --batch-size 2 --workers 0 --device cpu "
    "--sam-size 128 --dino-size 112",
    "distill": "--epochs 1 --warmup-epochs 0 --batch-size 2 --workers 0 --device cpu "
    "--sam-size 128 --dino-size 112",
    "generate": "--count 8 --size 64",
    "predict": "--device cpu",
    "cache build": "--workers 0 --device cpu --sam-size 128 --dino-size 112",
    "prune": "--workers 0 --device cpu --batch-size 2 --calibration 4",
    "reproduce": "--device cpu --model-size nano --limit 2 --epochs 1 --batch-size 2 --workers 0 "
    "--seeds 0 --methods ablation-a",
    "benchmark": "--device cpu --model dsunet-nano --train-semantic false --sam-size 128 "
    "--dino-size 112 --repeats 1",
    "features": "--device cpu --maps mean,pca --formats png --sam-size 128",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image.Image, "show", lambda self: None)
    synthetic_pair(0, 64)[0].save("photo.jpg")
    write_synthetic("other-data", 2, 64, seed=5)
    write_synthetic("new", 2, 64, seed=6)
    Path("new/images").rename("new-images")
    Path("files.txt").write_text("photo.jpg\nnew-images/salient_00000.jpg\n")
    return tmp_path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For files that several pages have made of the same network."""
    return tmp_path_factory.mktemp("exported")


@pytest.fixture
def sandbox(folder: Path, exported: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where trainings draw nothing at their end, and plans try nothing: README's do."""
    monkeypatch.setattr("dsunet.planning.plan.run_trial", trial_of)
    monkeypatch.setattr("dsunet.export.run.write_onnx", kept_in(exported))
    return folder


def write_photos(folder: Path, seed: int) -> None:
    """Two pictures that are in no data set."""
    folder.mkdir()
    for number in range(2):
        synthetic_pair(100 * seed + number, 64)[0].save(folder / f"{seed}-{number}.jpg")


def write_annotations(file: Path) -> None:
    """Of one of the pictures of `write_photos`, in COCO's format."""
    corners = [10, 10, 40, 10, 40, 30, 10, 30]
    content = {
        "images": [{"id": i, "file_name": f"2-{i}.jpg", "width": 64, "height": 64} for i in (0, 1)],
        "annotations": [{"id": 1, "image_id": 0, "category_id": 2, "segmentation": [corners]}],
        "categories": [{"id": 1, "name": "part"}, {"id": 2, "name": "hole"}],
    }
    file.write_text(json.dumps(content))


def write_labelme(folder: Path) -> None:
    """Labels of one of the pictures of `write_photos`, beside it."""
    write_photos(folder, 2)
    shape = {"label": "hole", "shape_type": "rectangle", "points": [[10, 10], [40, 30]]}
    content = {"shapes": [shape], "imagePath": "2-0.jpg", "imageWidth": 64, "imageHeight": 64}
    (folder / "2-0.json").write_text(json.dumps(content))


def write_method(folder: Path) -> None:
    """Maps of two data sets, as good as their masks."""
    shutil.copytree("DIR/masks", "OTHER/masks", dirs_exist_ok=True)
    for name in ("DUTS-TE", "CAMO"):
        shutil.copytree("DIR/masks", folder / name)


# Files that users have and we have not: smaller ones with made-up values under their names.
STAND_INS: dict[str, Callable[[Path], object]] = {
    "sam2.1_hiera_large.pt": sam2_file,
    "sam2.1_hiera_tiny.pt": sam2_file,
    "dinov2_vits14_pretrain.pth": dinov2_file,
    "DGSUNet-50.pth": lambda path: torch.save(published_state(), path),
    "PICTURES": lambda path: write_photos(path, 2),
    "annotations.json": write_annotations,
    "EXPORT": write_labelme,
    "PHOTOS": lambda path: write_photos(path, 2),
    "METHOD": write_method,
    "OTHER_METHOD": write_method,
    "OTHER_MAPS": lambda path: shutil.copytree("MAPS", path),
    "scan.tif": lambda path: synthetic_pair(3, 64)[0].save(path),
    "token.txt": lambda path: path.write_text("secret\n"),
}


def run_line(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = shlex.split(line)[1:]
    for name, make in STAND_INS.items():
        if name in arguments and not Path(name).exists():
            make(Path(name))
    if arguments[0] == "serve":
        with served(*arguments[1:], "--port", 0) as service:
            assert service.client.get("/ready").status_code == 200, line
        return
    if "--config" not in arguments:
        quick = QUICK.get(" ".join(arguments[:2])) or QUICK.get(arguments[0], "")
        one_view = any(argument.startswith("mynet:") for argument in arguments)
        arguments += shlex.split(quick.removesuffix("--dino-size 112") if one_view else quick)
    status = main(arguments)
    shown = capsys.readouterr()
    if "dsunet-small" in arguments:  # wants public weights, and tests have no network
        assert status == 1
        assert "were not fetched (HF_HUB_OFFLINE is set)" in shown.err, line
        assert "timm/sam2_hiera_small.fb_r896_2pt1" in shown.err
    else:
        assert status == 0, f"{line}: {shown.err}"


def run_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in commands(page):
        run_line(line, capsys)
    for snippet in blocks(page, "python"):
        exec(compile(snippet, page.name, "exec"), {"__name__": "snippet"})


def test_readme(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_page(ROOT / "README.md", capsys)
    assert Path("runs/mine/report.html").is_file()
    assert Path("runs/mine/curves.png").is_file()
    assert Path("out/photo.png").is_file()
    assert Path("scores.json").is_file()


def test_own_data(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("data", 8, 64)
    Path("val.txt").write_text("salient_00000\ncamouflaged_00001\n")
    run_page(ROOT / "docs" / "own-data.md", capsys)
    assert Path("object.png").is_file()
    assert {p.name for p in Path("out").iterdir()} == {
        "probability",
        "binary",
        "overlay",
        "prediction.json",
        ".lock",
    }


def test_classes(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classes(Path("data"), 12, 64)
    run_page(ROOT / "docs" / "classes.md", capsys)
    assert len(list(Path("labels").glob("*.png"))) == 3
    assert Path("classes.png").is_file()


def test_nothing_there(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("parts", 12, 64)
    for file in sorted(Path("parts/masks").iterdir())[::3]:
        Image.new("L", (64, 64)).save(file)
    shutil.copy("photo.jpg", "part.png")
    run_page(ROOT / "docs" / "nothing-there.md", capsys)
    assert Path("runs/parts/calibration.png").is_file()
    assert {path.suffix for path in Path("masks").iterdir()} >= {".png", ".json"}


def test_huge_pictures(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_page(ROOT / "docs" / "huge-pictures.md", capsys)
    assert Path("mask.png").is_file()
    assert Path("map.png").is_file()


def test_weights(
    sandbox: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSUNET_CACHE", str(sandbox / "cache"))
    write_synthetic("data", 8, 64)
    run_page(ROOT / "docs" / "weights.md", capsys)
    first = torch.load("DGSUNet-50.pth", weights_only=True)
    back = torch.load("back.pth", weights_only=True)
    assert set(first) == set(back)
    assert all(torch.equal(first[name], back[name]) for name in first)
    assert Path("out/photo.png").is_file()
    for file in (*sandbox.glob("*.pt*"), *sandbox.glob("*.safetensors")):
        file.unlink()  # some hundred megabytes


def test_feature_cache(
    sandbox: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSUNET_CACHE", str(sandbox / "cache"))
    write_synthetic("data", 4, 64)
    run_page(ROOT / "docs" / "feature-cache.md", capsys)
    assert len(list(Path("cache/features").iterdir())) == 1
    for file in (*sandbox.glob("*.pt*"), *sandbox.glob("runs/*/*.ckpt")):
        file.unlink()  # some hundred megabytes


def test_custom_models(
    sandbox: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "custom-models.md"
    for name in ("mynet", "mymaps", "myblocks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(sandbox)
    for snippet in blocks(page, "python"):
        if named := re.match(r"# (\w+\.py)\n", snippet):
            Path(named[1]).write_text(snippet)
    run_page(page, capsys)
    assert len(list(Path("maps/tiny").glob("*.png"))) == 2
    assert len(list(Path("maps/contrast/overlay").glob("*.png"))) == 3


def test_recipes(
    sandbox: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = ROOT / "docs" / "recipes.md"
    monkeypatch.delitem(sys.modules, "mychanges", raising=False)
    monkeypatch.syspath_prepend(sandbox)
    Path("mychanges.py").write_text(blocks(page, "python")[0])
    run_page(page, capsys)
    assert len(list(Path("maps").glob("*.png"))) == len(list(Path("both").glob("*.png"))) == 8


def public_sets(root: str) -> None:
    """Small stand-ins for the sets of camouflaged objects."""
    joint = "TrainDataset/Imgs + TrainDataset/GT"
    lay_out(Path(root), joint, ["camourflage_00001", "camourflage_00002"])
    lay_out(Path(root), joint, ["COD10K-CAM-1", "COD10K-CAM-2"], seed=10)
    lay_out(Path(root), "TestDataset/CAMO/Imgs + TestDataset/CAMO/GT", ["1", "2"], seed=20)


def salient_sets(root: str) -> None:
    """Small stand-ins for two sets of salient objects."""
    for name, letters in (("DUTS-TR", "abcd"), ("DUTS-TE", "ef")):
        lay_out(Path(root), f"{name}/{name}-Image + {name}/{name}-Mask", [*letters])


def test_benchmarks(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public_sets("ROOT")
    run_page(ROOT / "docs" / "benchmarks.md", capsys)
    assert Path("runs/rehearsal/last.safetensors").is_file()


def test_compare(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("data", 6, 64)
    for blur, name in enumerate(("DSU-Net", "U2Net", "BiRefNet")):
        folder = Path("maps", name)
        folder.mkdir(parents=True)
        for mask in sorted(Path("data/masks").iterdir()):
            with Image.open(mask) as picture:
                picture.filter(ImageFilter.GaussianBlur(1 + blur)).save(folder / mask.name)
    Path("val.txt").write_text("salient_00000\ncamouflaged_00001\n")
    for method in ("DSU-Net", "U2Net"):
        for name in ("DUTS-TE", "CAMO"):
            shutil.copytree(Path("maps", method), Path("METHODS", method, name))
            shutil.copytree("data/masks", Path("DATA", name, "masks"), dirs_exist_ok=True)
    run_page(ROOT / "docs" / "compare.md", capsys)
    assert Path("papers/CAMO/table.tex").is_file()
    assert re.search(r"\| DSU-Net \| 3\.7 \| 3\.5 \| \d", Path("costs/table.md").read_text())
    assert {p.name for p in Path("compared").iterdir()} == {
        *(f"table.{ending}" for ending in ("md", "tex", "csv", "json")),
        "per_image.csv",
        *(
            f"{figure}.{ending}"
            for figure in ("precision_recall", "thresholds", "histograms", "differences")
            for ending in ("png", "pdf")
        ),
    }


def write_named(folder: str, names: Sequence[str]) -> None:
    """A data set whose pictures are called so; of every fourth the mask is empty."""
    for kind in ("images", "masks"):
        Path(folder, kind).mkdir(parents=True)
    for number, name in enumerate(names):
        image, mask = synthetic_pair(number, 64)
        image.save(Path(folder, "images", f"{name}.jpg"))
        (mask if number % 4 else Image.new("L", mask.size)).save(
            Path(folder, "masks", f"{name}.png")
        )


def test_medicine(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("polyps", 8, 64)
    pairs = sorted(path.stem for path in Path("polyps/images").iterdir())
    lines = (f"{name},{number // 2}\n" for number, name in enumerate(pairs))
    Path("groups.csv").write_text("".join(lines))
    run_page(ROOT / "docs" / "recipe-medicine.md", capsys)
    assert len(list(Path("marked/overlay").iterdir())) == 2
    assert "[0." in Path("compared/table.md").read_text()


def test_inspection(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_named("tiles", [f"MT_exp{i}_num_{100 * (i // 2) + 1000 + i}" for i in range(16)])
    run_page(ROOT / "docs" / "recipe-inspection.md", capsys)
    assert Path("tiles.onnx").is_file()
    assert Path("runs/tiles/report.html").is_file()


def test_photographs(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photographs.main(Path("photographs"))
    run_page(ROOT / "docs" / "recipe-photographs.md", capsys)
    assert len(list(Path("cutouts").glob("*.png"))) == len(photographs.PHOTOGRAPHS)
    assert len(list(Path("shop").glob("*.webp"))) == len(photographs.PHOTOGRAPHS)


def test_features(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("data", 8, 64)
    main(shlex.split("train --data data --model dsunet-nano --output runs/mine " + QUICK["train"]))
    run_page(ROOT / "docs" / "features.md", capsys)
    assert Path("figures/hiera/photo.png").is_file()
    assert Path("fusion.pdf").is_file()


def test_pruning(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("data", 6, 64)
    command = "train --data data --val-fraction 0.4 --model dsunet-nano --output runs/mine "
    main(shlex.split(command + QUICK["train"]))
    run_page(ROOT / "docs" / "pruning.md", capsys)
    assert Path("masks/photo.png").is_file()
    assert {"best.safetensors", "report.json", "report.md", "run"} <= {
        p.name for p in Path("small").iterdir()
    }


def test_reproduce(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    salient_sets("data")
    run_page(ROOT / "docs" / "reproduce.md", capsys)
    assert Path("rehearsal/tables/table-III.tex").is_file()


def test_small_models(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("data", 4, 64)
    run_page(ROOT / "docs" / "small-models.md", capsys)
    assert Path("masks/photo.png").is_file()


def test_distillation(
    sandbox: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSUNET_CACHE", str(sandbox / "cache"))
    write_synthetic("data", 6, 64)
    for seed, folder in enumerate(("photos", "more"), 3):
        write_photos(Path(folder), seed)
    run_line("dsunet train --data data --model dsunet-nano --output runs/large", capsys)
    run_page(ROOT / "docs" / "distillation.md", capsys)
    assert Path("masks/photo.png").is_file()
    assert len(Path("runs/with-photos/unlabelled.txt").read_text().split()) == 4
    assert len(list(Path("cache/features").iterdir())) == 2  # with feature maps and without


def run_pipes(page: Path) -> None:
    """The lines of a page's shell blocks that read from a pipe, by a shell."""
    call = shlex.join([sys.executable, "-m", "dsunet.cli"])
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for line in lines:
        if "| dsunet " in line:
            done = subprocess.run(
                ["sh", "-c", line.replace("| dsunet ", f"| {call} ")], capture_output=True
            )
            assert done.returncode == 0, f"{line}: {done.stderr.decode()}"


def test_scale(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_page(ROOT / "docs" / "scale.md", capsys)
    assert len(list(Path("maps-of-all").glob("*.png"))) == 2


def test_predict(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("data", 4, 64)
    page = ROOT / "docs" / "predict.md"
    run_page(page, capsys)
    run_pipes(page)
    assert {p.name for p in Path("all").iterdir() if p.is_dir()} == {*dsunet.predict.KINDS}
    assert Path("by-list/new-images/salient_00000.png").is_file()
    assert Path("piped.png").read_bytes() == Path("cut.png").read_bytes()
    with Image.open("object.jpg") as cropped, Image.open("object.png") as same:
        assert cropped.size == same.size
    assert len(list(Path("cutouts").glob("*.png"))) == 2


def test_measure(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its pictures have a resolution, and its masks are read as maps and as classes, too."""
    write_synthetic("data", 4, 64)
    shutil.copytree("data/masks", "drawn")
    for name in ("PICTURES", "MAPS", "classes"):
        Path(name).mkdir()
    for mask in sorted(Path("data/masks").iterdir()):
        with Image.open(mask) as picture:
            picture.save(Path("MAPS", mask.name))
            picture.point(lambda value: value // 255).save(Path("classes", mask.name))
            picture.convert("RGB").save(Path("PICTURES", f"{mask.stem}.jpg"), dpi=(254, 254))
    run_page(ROOT / "docs" / "measure.md", capsys)
    assert "mm" in Path("by-file.csv").read_text()
    assert "crack" in Path("by-class.csv").read_text()
    assert len(list(Path("imported/masks").iterdir())) == 4


def test_speed(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("data", 6, 64)
    run_page(ROOT / "docs" / "speed.md", capsys)
    assert {"step.json", "predict.json"} <= {p.name for p in Path().iterdir()}


def test_deploy(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_synthetic("DIR", 8, 64)
    run_page(ROOT / "docs" / "deploy.md", capsys)
    assert Path("lite.json").is_file()
    assert Path("lite-int8.json").is_file()
    assert Path("masks/photo.png").is_file()
    assert Path("overlay.png").is_file()


def test_serve(sandbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its clients, against a service at a free port."""
    page = ROOT / "docs" / "serve.md"
    shutil.copy("new-images/salient_00000.jpg", "other.jpg")
    for line in commands(page):
        run_line(line, capsys)
    with served("--workers", 1) as service:
        for language, call in (("sh", ["sh", "-e"]), ("js", ["node", "--input-type=module"])):
            if shutil.which(call[0]) is None:
                continue
            for block in blocks(page, language):
                lines = [line for line in block.splitlines() if not line.startswith("dsunet ")]
                script = "\n".join(lines).replace("http://127.0.0.1:8000", service.url)
                subprocess.run(call, input=script, text=True, check=True, timeout=120)
        for snippet in blocks(page, "python"):
            snippet = snippet.replace("http://127.0.0.1:8000", service.url)
            exec(compile(snippet, page.name, "exec"), {"__name__": "snippet"})
    assert Path("cut.png").read_bytes() == Path("from-python.png").read_bytes()
    with Image.open("map.png") as found, Image.open("from-javascript.png") as cut:
        assert found.size == cut.size == (64, 64)
    assert json.loads(Path("numbers.json").read_text())["width"] == 64
    results = json.loads(Path("results.json").read_text())["results"]
    assert [each["status"] for each in results] == [200, 200]
    with zipfile.ZipFile("cut.zip") as archive:
        assert archive.namelist() == ["results.json", "000-photo.png", "001-other.png"]


def test_the_examples_of_the_commands_help(
    sandbox: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic("DIR", 8, 64)
    public_sets("ROOT")
    public_sets("DATA")
    salient_sets("DATA")
    for line in examples():
        run_line(line, capsys)
    for file in (*sandbox.glob("*.pt*"), *sandbox.glob("*.safetensors")):
        file.unlink()  # some hundred megabytes


def test_train_many(sandbox: Path) -> None:
    """Its commands start processes that run them anew, so each is a process here."""
    write_synthetic("data", 8, 64)
    page = ROOT / "docs" / "train-many.md"
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if line]
    assert len(lines) == 2
    for line in lines:
        command = [*shlex.split(line), *shlex.split(QUICK["train"])]
        if command[0] == "torchrun":
            command[:1] = ["-m", "torch.distributed.run"]
        else:
            command[:1] = ["-m", "dsunet.cli"]
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert "best" in done.stdout or "weights: " in done.stdout
