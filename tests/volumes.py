"""A made-up hospital of volumes, and a study of them: DICOM series and NIfTI files, some with a bright ball."""

import csv
from pathlib import Path

import nibabel
import numpy as np
from series import MR, image, write
from studies import copy_study, import_folder, run_stage, set_params

PATIENTS, SLICES = 24, 8
CANARY = "Zaphodia"
CORONAL = [1.0, 0, 0, 0, 0, -1]


def voxels(patient: int) -> np.ndarray:
    """``(D, H, W)`` uint16; every third patient has a ball."""
    random = np.random.default_rng(patient)
    grid = np.stack(np.meshgrid(*(np.arange(side) for side in (SLICES, 20, 18)), indexing="ij"))
    place = random.uniform((2, 6, 6), (5, 14, 12))[:, None, None, None]
    ball = (((grid - place) * np.array([1.5, 1, 1])[:, None, None, None]) ** 2).sum(0) < 16
    found = random.normal(300, 30, grid.shape[1:]) + 400 * ball * (patient % 3 == 0)
    return np.clip(found, 0, 4095).astype(np.uint16)


def write_series(folder: Path, patient: int, **elements: object) -> None:
    """One DICOM series, its files in no order, every second patient's coronal."""
    folder.mkdir(parents=True)
    coronal = patient % 2 == 1
    for place, pixels in enumerate(voxels(patient)):
        where = [0.0, 3.0 * place, 0.0] if coronal else [0.0, 0.0, 3.0 * place]
        header: dict[str, object] = {
            "SOPClassUID": MR, "SOPInstanceUID": f"1.2.9.{patient}.{place}", "PatientName": CANARY,
            "PatientID": f"{CANARY}-{patient}", "StudyInstanceUID": f"1.2.7.{patient}", "PixelSpacing": [1.0, 1.0],
            "SeriesInstanceUID": f"1.2.8.{patient}", "Modality": "MR", "InstanceNumber": place + 1,
            "ImagePositionPatient": where, "ImageType": ["ORIGINAL", "PRIMARY"], "AccessionNumber": f"ACC{patient}",
            "BurnedInAnnotation": "NO", "StudyDate": "20200102",
        }  # fmt: skip
        if coronal:
            header["ImageOrientationPatient"] = CORONAL
        write(folder / f"{(place * 5) % SLICES}.dcm", image(pixels, **(header | elements)))


def write_hospital(folder: Path) -> None:
    """Every sixth patient is a NIfTI file, all others are DICOM series; labels.csv beside them names each file."""
    for patient in range(PATIENTS):
        if patient % 6 == 5:
            folder.mkdir(parents=True, exist_ok=True)
            grid = np.diag([1.0, 1.0, 3.0, 1.0])
            nibabel.save(nibabel.Nifti1Image(voxels(patient).T, grid), folder / f"n{patient}.nii.gz")
        else:
            write_series(folder / f"{CANARY}-{patient}", patient)
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "ball"])
        for path in sorted(folder.rglob("*.*")):
            if path.suffix in (".dcm", ".gz"):
                name = path.parent.name if path.suffix == ".dcm" else path.name.split(".")[0].replace("n", "-")
                table.writerow([path.relative_to(folder).as_posix(), int(int(name.rpartition("-")[2]) % 3 == 0)])


def make_study(folder: Path, hospital: Path) -> None:
    """A study of the hospital, through every stage up to its bundle."""
    copy_study(folder, None)
    import_folder(hospital, hospital / "labels.csv", folder / "data", each_image_is_a_patient=True)
    set_params(
        folder,
        study={"label": "ball", "question": "Is there a ball?"},
        ingest={"sample": "volume"},
        split={"each_image_is_a_patient": True, "altered_copies": False},
        preprocess={"size": 32, "orientation": "SPL", "fit": "stretch"},
        train={"max_epochs": 1, "batch_size": 8},
        saliency={"cases": 0},
    )
    for stage in ("ingest", "split", "preprocess", "train", "predict", "evaluate", "bundle"):
        done = run_stage(stage, folder)
        assert done.returncode == 0, done.stdout + done.stderr
