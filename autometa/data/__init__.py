"""Data sets as memory-mapped stores, their splits, and few-shot episodes."""

from autometa.data.catalogue import DATASETS, dataset_names, listed_datasets, open_dataset, register
from autometa.data.episodes import Batches, Episodes, Tasks, TaskSpec
from autometa.data.errors import DataError
from autometa.data.folders import folder_split, load_class_folder
from autometa.data.images import Recipe, load_images
from autometa.data.splits import Split
from autometa.data.store import ClassEntry, ImageStore, cache_root, cached_store, write_store
from autometa.data.strokes import StrokesConfig

__all__ = [
    "DATASETS",
    "Batches",
    "ClassEntry",
    "DataError",
    "Episodes",
    "ImageStore",
    "Recipe",
    "Split",
    "StrokesConfig",
    "TaskSpec",
    "Tasks",
    "cache_root",
    "cached_store",
    "dataset_names",
    "folder_split",
    "listed_datasets",
    "load_class_folder",
    "load_images",
    "open_dataset",
    "register",
    "write_store",
]
