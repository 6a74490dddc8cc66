"""Papers and programs that registry entries name as their `paper`, with BibTeX (the data is in `papers.toml`).

An entry's `paper` begins with the name of one of these: `arXiv:...`, a repository, or an address.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata, resources
from types import MappingProxyType
from typing import Any

from snrlab.core.errors import UserError

ZERO_TERMINAL_SNR = "arXiv:2305.08891"
LORA, DORA, LORA_PLUS = "arXiv:2106.09685", "arXiv:2402.09353", "arXiv:2402.12354"
PREDICTIONS = MappingProxyType(
    {
        "epsilon": "arXiv:2006.11239",
        "sample": "arXiv:2006.11239",
        "v_prediction": "arXiv:2202.00512",
        "flow_prediction": "arXiv:2403.03206",
    }
)


@dataclass(frozen=True)
class Paper:
    """A paper or a program.

    Attributes:
        key: BibTeX key.
        authors: in BibTeX's form, `Surname, Name and ...`.
        year: 0 for a program without one.
        venue: conference or journal; empty for a preprint or a program.
        arxiv: arXiv number; empty for other works.
        url: page or repository; a preprint has its arXiv number instead.
        version: version of a program, where it matters.
    """

    key: str
    authors: str
    title: str
    year: int = 0
    venue: str = ""
    arxiv: str = ""
    url: str = ""
    version: str = ""

    def bibtex(self) -> str:
        """The BibTeX entry, with braces that keep the capitals of the title.

        >>> print(Paper("ho2020", "Ho, Jonathan", "DDPM", 2020, "NeurIPS", "2006.11239").bibtex())
        @inproceedings{ho2020,
          author = {Ho, Jonathan},
          title = {{DDPM}},
          year = {2020},
          booktitle = {NeurIPS},
          eprint = {2006.11239},
          archivePrefix = {arXiv}
        }
        """
        fields = {
            "author": self.authors,
            "title": f"{{{self.title}}}",
            "year": str(self.year) if self.year else "",
            "booktitle": self.venue,
            "eprint": self.arxiv,
            "archivePrefix": "arXiv" if self.arxiv else "",
            "version": self.version,
            "url": self.url,
        }
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items() if value)
        return f"@{'inproceedings' if self.venue else 'misc'}{{{self.key},\n{body}\n}}"


def _load_papers() -> Mapping[str, Paper]:
    text = resources.files("snrlab.core.registries").joinpath("papers.toml").read_text(encoding="utf-8")
    return {name: Paper(**fields, **_address_fields(name)) for name, fields in tomllib.loads(text).items()}


def _address_fields(name: str) -> dict[str, Any]:
    if name.startswith("arXiv:"):
        return {"arxiv": name.removeprefix("arXiv:")}
    return {"url": name if name.startswith("https://") else f"https://github.com/{name}"}


PAPERS: Mapping[str, Paper] = MappingProxyType(_load_papers())


def paper(source: str) -> Paper | None:
    """The work that an entry's `paper` names; None if it names none (a curve of the user's, a config file).

    >>> paper("arXiv:2303.09556").key
    'hang2023efficient'
    >>> paper("kohya-ss/sd-scripts, library/train_util.py").key
    'kohya-sd-scripts'

    Raises:
        UserError: the work is not in papers.toml.
    """
    name = source.partition(", ")[0]
    if name.startswith("none:") or name == "diffusers":
        return None
    if name not in PAPERS:
        raise UserError(
            f"paper: no facts are kept about '{source}'; a plug-in's own reference has to be added by hand.",
            code="unknown-name",
        )
    return PAPERS[name]


def this_program() -> Paper:
    """How to cite snrlab."""
    title = "snrlab: see, train and prove how a diffusion recipe spreads effort over noise levels"
    return Paper("snrlab", "{The snrlab authors}", title, 2026, version=metadata.version("snrlab"))
