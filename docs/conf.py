"""The site: `sphinx-build -W -b html docs build/docs`, its doctests: `sphinx-build -b doctest docs build/docs`."""

from importlib import metadata

project = "autometa"
copyright = "the authors of autometa, Apache-2.0"
release = version = metadata.version("autometa-nas")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.doctest"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True

html_theme = "alabaster"
html_theme_options = {
    "description": "A small network and an initialisation that learn new classes from one to five pictures",
    "fixed_sidebar": True,
    "page_width": "1080px",
}
html_copy_source = False

doctest_test_doctest_blocks = ""
doctest_global_setup = """
import os, tempfile
from pathlib import Path

import torch

_place, _home, _threads = tempfile.TemporaryDirectory(), Path.cwd(), torch.get_num_threads()
_cache = os.environ.get("AUTOMETA_CACHE")
os.environ["AUTOMETA_CACHE"] = f"{_place.name}/cache"
os.chdir(_place.name)
torch.set_num_threads(1)
"""
doctest_global_cleanup = """
os.chdir(_home)
torch.set_num_threads(_threads)
os.environ.pop("AUTOMETA_CACHE")
if _cache is not None:
    os.environ["AUTOMETA_CACHE"] = _cache
_place.cleanup()
"""
