"""What MedMNIST+ publishes: https://doi.org/10.5281/zenodo.10519652 (Yang et al. 2023, doi:10.1038/s41597-022-01721-8).

Names of classes are those of the publisher as one word of at most 32 characters, which is what crosses an import.
"""

from dataclasses import dataclass

URL = "https://zenodo.org/records/10519652/files"
FLAT, SOLID = (28, 64, 128, 224), (28, 64)
"""sizes in pixels, of images and of volumes"""


@dataclass(frozen=True)
class PublicSet:
    """One of the publisher's sets."""

    what: str
    labels: tuple[str, ...]
    """classes in the order of the publisher's numbers; of a multilabel set one column each"""
    md5: dict[int, str]
    """of the file, by size"""
    licence: str = "CC BY 4.0"
    multilabel: bool = False
    volumes: bool = False

    def file(self, name: str, size: int) -> str:
        """The publisher's name for the file."""
        return f"{name}.npz" if size == min(self.md5) else f"{name}_{size}.npz"


def _flat(what: str, labels: str, md5: str, licence: str = "CC BY 4.0", multilabel: bool = False) -> PublicSet:
    return PublicSet(what, tuple(labels.split()), dict(zip(FLAT, md5.split(), strict=True)), licence, multilabel)


def _solid(what: str, labels: str, md5: str) -> PublicSet:
    return PublicSet(what, tuple(labels.split()), dict(zip(SOLID, md5.split(), strict=True)), volumes=True)


_ORGANS = "bladder femur-left femur-right heart kidney-left kidney-right liver lung-left lung-right pancreas spleen"
SETS = {
    "pathmnist": _flat(
        "colorectal histology, 9 tissues",
        "adipose background debris lymphocytes mucus smooth_muscle normal_colon_mucosa cancer-associated_stroma "
        "adenocarcinoma_epithelium",
        "a8b06965200029087d5bd730944a56c1 55aa9c1e0525abe5a6b9d8343a507616 ac42d08fb904d92c244187169d1fd1d9 "
        "2c51a510bcdc9cf8ddb2af93af1eadec",
    ),
    "chestmnist": _flat(
        "chest radiographs, 14 findings",
        "atelectasis cardiomegaly effusion infiltration mass nodule pneumonia pneumothorax consolidation edema "
        "emphysema fibrosis pleural hernia",
        "02c8a6516a18b556561a56cbdd36c4a8 9de6cd0b934ebb5b7426cfba5efbae16 db107e5590b27930b62dbaf558aebee3 "
        "45bd33e6f06c3e8cdb481c74a89152aa",
        multilabel=True,
    ),
    "dermamnist": _flat(
        "dermatoscopy, 7 diseases",
        "actinic_keratoses_carcinoma basal_cell_carcinoma benign_keratosis-like dermatofibroma melanoma "
        "melanocytic_nevi vascular_lesions",
        "0744692d530f8e62ec473284d019b0c7 b70a2f5635c6199aeaa28c31d7202e1f 2defd784463fa5243564e855ed717de1 "
        "8974907d8e169bef5f5b96bc506ae45d",
        "CC BY-NC 4.0",
    ),
    "octmnist": _flat(
        "retinal optical coherence tomography, 4 diagnoses",
        "choroidal_neovascularization diabetic_macular_edema drusen normal",
        "c68d92d5b585d8d81f7112f81e2d0842 e229e9440236b774d9f0dfef9d07bdaf 0a97e76651ace45c5d943ee3f65b63ae "
        "abc493b6d529d5de7569faaef2773ba3",
    ),
    "pneumoniamnist": _flat(
        "chest radiographs of children",
        "normal pneumonia",
        "28209eda62fecd6e6a2d98b1501bb15f 8f4eceb4ccffa70c672198ea285246c6 05b46931834c231683c68f40c47b2971 "
        "d6a3c71de1b945ea11211b03746c1fe1",
    ),
    "retinamnist": _flat(
        "fundus photographs, 5 grades of diabetic retinopathy",
        "0 1 2 3 4",
        "bd4c0672f1bba3e3a89f0e4e876791e4 afda852cc34dcda56f86ad2b2457dbcc e48e916a24454daf90583d4e6efb1a18 "
        "eae7e3b6f3fcbda4ae613ebdcbe35348",
    ),
    "breastmnist": _flat(
        "breast ultrasound",
        "malignant normal_or_benign",
        "750601b1f35ba3300ea97c75c52ff8f6 742edef2a1fd1524b2efff4bd7ba9364 363e4b3f8d712e9b5de15470a2aaadf1 "
        "b56378a6eefa9fed602bb16d192d4c8b",
    ),
    "bloodmnist": _flat(
        "blood cells, 8 types",
        "basophil eosinophil erythroblast immature_granulocytes lymphocyte monocyte neutrophil platelet",
        "7053d0359d879ad8a5505303e11de1dc 2b94928a2ae4916078ca51e05b6b800b adace1e0ed228fccda1f39692059dd4c "
        "b718ff6835fcbdb22ba9eacccd7b2601",
    ),
    "tissuemnist": _flat(
        "kidney cortex cells, 8 types",
        "collecting_connecting_tubule distal_convoluted_tubule glomerular_endothelial interstitial_endothelial "
        "leukocytes podocytes proximal_tubule thick_ascending_limb",
        "ebe78ee8b05294063de985d821c1c34b 123ece2eba09d0aa5d698fda57103344 61b955355d7425a89687b06cca3ce0c2 "
        "b077128c4a949f0a4eb01517f9037b9c",
    ),
    "organamnist": _flat(
        "abdominal CT, axial, 11 organs",
        _ORGANS,
        "68e3f8846a6bd62f0c9bf841c0d9eacc 2dcccc29b88e6da5a01161ef20cda288 eeae80d0a227a8d099027e1b3cfd3b60 "
        "50747347e05c87dd3aaf92c49f9f3170",
    ),
    "organcmnist": _flat(
        "abdominal CT, coronal, 11 organs",
        _ORGANS,
        "b9ceb9546e10131b32923c5bbeaea2b1 3ce34a8724ea6f548e6db4744d03b6a9 773c1f009daa3fe5d9a2a201b2a7ed94 "
        "050f5e875dc056f6768abf94ec9995d1",
    ),
    "organsmnist": _flat(
        "abdominal CT, sagittal, 11 organs",
        _ORGANS,
        "9ab87b696fb54e2a387ebe992d6ed5f1 53a6d115339d874c25e309a994ff46d3 ded0c5fa01a95dc4978b956f613e9b8e "
        "b354719e553fbbb2513d5533f52a4cb1",
    ),
    "organmnist3d": _solid(
        "abdominal CT, 11 organs",
        "liver kidney-right kidney-left femur-right femur-left bladder heart lung-right lung-left spleen pancreas",
        "a0c5a1ff56af4f155c46d46fbb45a2fe 58a2205adf14a9d0a189cb06dc78bf10",
    ),
    "nodulemnist3d": _solid(
        "lung nodules in CT",
        "benign malignant",
        "8755a7e9e05a4d9ce80a24c3e7a256f3 c47c5b7d457bf6332200d2ea6d64ecd8",
    ),
    "adrenalmnist3d": _solid(
        "shapes of adrenal glands from CT",
        "normal hyperplasia",
        "bbd3c5a5576322bc4cdfea780653b1ce 17721accfe9fb005146a47d33bc54b2f",
    ),
    "fracturemnist3d": _solid(
        "rib fractures in CT, 3 types",
        "buckle nondisplaced displaced",
        "6aa7b0143a6b42da40027a9dda61302f f01d7e6316aedf4210da0da5b7437b42",
    ),
    "vesselmnist3d": _solid(
        "shapes of brain vessels from MRA",
        "vessel aneurysm",
        "b41fd4f7e7e2feedddb201585ecafa1b 6bb274a8846e1097066dcd64e2c4520f",
    ),
    "synapsemnist3d": _solid(
        "synapses in electron microscopy of a rat",
        "inhibitory excitatory",
        "1235b78a3cd6280881dd7850a78eadb6 43bd14ebf3af9d3dd072446fedc14d5e",
    ),
}
