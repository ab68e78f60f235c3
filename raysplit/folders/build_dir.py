"""The folder of one ensemble's build, on any pyarrow file system; no torch, so that reports can read it.

config.json  data.json  plan.json  summary.json  report.html  bundle/
base/        model.safetensors  record.json  logits.safetensors  state.pt (while the base is being trained)
             normalization.json (where the weights that it starts from say what it is)
common/K/    scores.safetensors  model.safetensors  record.json
submodels/N/ scores.safetensors  model.safetensors  record.json
fusion/      model.safetensors  record.json
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel

from raysplit.config import EnsembleConfig, loads
from raysplit.config.ensemble_plan import EnsemblePlan
from raysplit.errors import ConfigError
from raysplit.records.build_stages import BaseRecord, DataFingerprint, FusionRecord, Normalization, SubmodelRecord
from raysplit.records.ensemble_summary import EnsembleSummary
from raysplit.utils.storage import Folder

CONFIG, DATA, PLAN, SUMMARY, REPORT = "config.json", "data.json", "plan.json", "summary.json", "report.html"
BASE_WEIGHTS, BASE_RECORD, BASE_STATE = "base/model.safetensors", "base/record.json", "base/state.pt"
BASE_NORMALIZATION, TEACHER_LOGITS = "base/normalization.json", "base/logits.safetensors"
FUSION_WEIGHTS, FUSION_RECORD = "fusion/model.safetensors", "fusion/record.json"
_BUNDLE = "bundle"

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class NetworkFiles:
    """File names of one network that was cut out of the base, in a build's folder.

    >>> NetworkFiles.submodel(2).weights
    'submodels/2/model.safetensors'
    """

    folder: str

    @classmethod
    def submodel(cls, index: int) -> NetworkFiles:
        """Return the files of a sub-model."""
        return cls(f"submodels/{index}")

    @classmethod
    def common(cls, k: int) -> NetworkFiles:
        """Return the files of the common network that keeps k size steps."""
        return cls(f"common/{k}")

    @property
    def scores(self) -> str:
        return f"{self.folder}/scores.safetensors"

    @property
    def weights(self) -> str:
        return f"{self.folder}/model.safetensors"

    @property
    def record(self) -> str:
        return f"{self.folder}/record.json"


class BuildDir(Folder):
    """The folder of one build. It can be pickled: it is opened again by its location."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).at, (self.location,)

    @property
    def bundle_location(self) -> str:
        """Where the build's bundle is, once it is written."""
        return f"{self.location}/{_BUNDLE}"

    def read(self, name: str) -> bytes:
        """Return a file's content; ConfigError where the build has not got that far."""
        data = self.find(name)
        if data is None:
            raise ConfigError(
                f"the build in '{self.location}' has no {name}; continue it with "
                f"python jobs/build_ensemble.py --resume {self.location}"
            )
        return data

    def config(self) -> EnsembleConfig:
        """Return the config the build was started with; ConfigError for a folder without one."""
        data = self.find(CONFIG)
        if data is None:
            raise ConfigError(
                f"'{self.location}' is not a build's folder: it has no {CONFIG}; name the folder that "
                "jobs/build_ensemble.py printed"
            )
        return self._parse(EnsembleConfig, data, CONFIG)

    def holds(self, config: EnsembleConfig) -> bool:
        """Return whether the folder has a build of this config."""
        # As JSON, which knows no tuples: a config that was read back has lists in `args`.
        return self.has(CONFIG) and self.config().model_dump(mode="json") == config.model_dump(mode="json")

    def check_config(self, config: EnsembleConfig) -> None:
        """Raise ConfigError where the folder has a build of another config."""
        if self.has(CONFIG) and not self.holds(config):
            reuse = ""
            if self.has(BASE_WEIGHTS):
                reuse = f". To reuse its base, set base.weights={self.location}/{BASE_WEIGHTS}"
            raise ConfigError(
                f"'{self.location}' holds a build of another config; give each build its own folder{reuse}"
            )

    def claim(self, config: EnsembleConfig) -> None:
        """Reserve the folder for a build of this config; ConfigError where it has a build of another one."""
        self.check_config(config)
        if not self.has(CONFIG):
            self.write(CONFIG, config.model_dump_json(indent=2).encode())

    def plan(self) -> EnsemblePlan | None:
        """Return the plan, or None where it has not been made yet."""
        data = self.find(PLAN)
        return None if data is None else self._parse(EnsemblePlan, data, PLAN)

    def write_plan(self, plan: EnsemblePlan) -> None:
        self.write(PLAN, plan.model_dump_json(indent=2, by_alias=True).encode())

    def summary(self) -> EnsembleSummary | None:
        """Return the summary, or None for a build that has not ended."""
        data = self.find(SUMMARY)
        return None if data is None else self._parse(EnsembleSummary, data, SUMMARY)

    def write_summary(self, summary: EnsembleSummary) -> None:
        """Write `summary.json`: the build has ended."""
        self.write(SUMMARY, summary.model_dump_json(indent=2).encode())

    def data_fingerprint(self) -> DataFingerprint | None:
        """Return what identifies the data the build was started with, or None where it has not started."""
        data = self.find(DATA)
        return None if data is None else self._parse(DataFingerprint, data, DATA)

    def write_data_fingerprint(self, fingerprint: DataFingerprint) -> None:
        self.write(DATA, fingerprint.model_dump_json(indent=2).encode())

    def normalization(self) -> Normalization | None:
        """Return the normalization that the base's first weights asked for, or None where it is not kept."""
        data = self.find(BASE_NORMALIZATION)
        return None if data is None else self._parse(Normalization, data, BASE_NORMALIZATION)

    def write_normalization(self, normalization: Normalization) -> None:
        self.write(BASE_NORMALIZATION, normalization.model_dump_json().encode())

    def base_record(self) -> BaseRecord:
        return self._parse(BaseRecord, self.read(BASE_RECORD), BASE_RECORD)

    def write_base(self, weights: bytes, record: BaseRecord) -> None:
        """Write the base's weights, as safetensors, and its record; the stage is then done."""
        self.write(BASE_RECORD, record.model_dump_json().encode())
        self.write(BASE_WEIGHTS, weights)

    def submodel_record(self, files: NetworkFiles) -> SubmodelRecord:
        """Return the record of a sub-model or a common network."""
        return self._parse(SubmodelRecord, self.read(files.record), files.record)

    def write_submodel(self, files: NetworkFiles, weights: bytes, record: SubmodelRecord) -> None:
        """Write the weights, as safetensors, and the record of a sub-model or a common network, which is then done."""
        self.write(files.weights, weights)
        self.write(files.record, record.model_dump_json().encode())

    def fusion_record(self) -> FusionRecord:
        return self._parse(FusionRecord, self.read(FUSION_RECORD), FUSION_RECORD)

    def write_fusion(self, weights: bytes, record: FusionRecord) -> None:
        """Write the fusion's weights, as safetensors, and its record; the stage is then done."""
        self.write(FUSION_WEIGHTS, weights)
        self.write(FUSION_RECORD, record.model_dump_json().encode())

    def _parse(self, kind: type[Model], data: bytes, name: str) -> Model:
        return loads(kind, data.decode(errors="replace"), where=f"{name} in '{self.location}'")
