"""A folder of images as people have it: which file is an example of what, and which is none."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from metabench.data.base import Partition
from metabench.files import InputError
from metabench.shown import visible

PARTS: dict[str, Partition] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names of folders above the classes, in any case."""
ORDER: tuple[Partition | None, ...] = (None, "train", "val", "test")
THUMBNAILS = frozenset({"@eadir", "__macosx", "thumbnails", ".thumbnails", ".thumb"})
SYSTEM = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "picasa.ini"})


@dataclass(frozen=True)
class ImageFile:
    """A file that should be an image: its place in the folder, its class and part."""

    path: Path
    place: str
    label: str
    part: Partition | None


@dataclass
class Listing:
    """What a folder holds.

    Attributes:
        root: the folder; ``where``: what it is called in messages.
        files: by class, then part, then name.
        classes: names, with or without files.
        skipped: ``(place, reason)`` of each file or folder that is no example.
        notes: what is doubtful about the folder.
    """

    root: Path
    where: Path
    files: list[ImageFile] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def place(self, path: Path) -> str:
        """Where ``path`` is in the folder, as text."""
        return visible(path.relative_to(self.root).as_posix())

    def look(self, folder: Path, follow: bool = False) -> tuple[list[Path], list[Path]]:
        """Files and folders in ``folder`` that may be of use; the others are noted.

        Args:
            follow: links to folders are.
        """
        files: list[Path] = []
        folders: list[Path] = []
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            self.skipped.append((f"{self.place(folder)}/", f"cannot be opened ({error.strerror})"))
            return [], []
        for entry in entries:
            try:
                directory = entry.is_dir()
                reason = _useless(entry, directory, follow)
            except OSError as error:
                directory, reason = False, f"cannot be read ({error.strerror})"
            if reason:
                self.skipped.append((self.place(entry) + "/" * directory, reason))
            else:
                (folders if directory else files).append(entry)
        return files, folders

    def leave_out(self, paths: list[Path], reason: str) -> None:
        """Note that these are no examples."""
        self.skipped += [(self.place(p) + "/" * p.is_dir(), reason) for p in paths]

    def add_class(self, folder: Path, part: Partition | None) -> None:
        """Take all files below ``folder``."""
        label = visible(folder.name)
        found, pending = self.look(folder)
        if pending and not found:
            inside = ", ".join(visible(p.name) for p in pending[:3]) + ", …" * (len(pending) > 3)
            self.notes.append(
                f"{self.place(folder)}/ holds only folders ({inside}): all images in them are "
                f"taken for class '{label}'. If they are the classes, give --images "
                f"{visible(str(self.where / folder.relative_to(self.root)))}"
            )
        while pending:
            files, folders = self.look(pending.pop())
            found += files
            pending += folders
        self.classes.append(label)
        self.files += [ImageFile(path, self.place(path), label, part) for path in sorted(found)]


def list_images(root: Path, origin: Path | None = None) -> Listing:
    """The files of ``root/<class>/**``, or of ``root/<part>/<class>/**`` (see ``PARTS``).

    Left out are hidden files and folders, thumbnails, files of the system, files above the classes,
    links to folders (that of a class may be one), links to nothing, and what cannot be opened.

    Args:
        origin: what to call the folder in messages, where it is a copy.

    Raises:
        InputError: no such folder, or one without folders of classes.
    """
    where = origin or root
    if not root.is_dir():
        found = "is no folder" if root.exists() else "no such folder"
        raise InputError(f"{where}: {found}. --images takes one with a sub-folder a class.")
    listing = Listing(root, where)
    loose, folders = listing.look(root, follow=True)
    if not folders:
        raise InputError(f"{where}: has no sub-folders. Put the images of each class into one.")
    parts = _parts(listing, folders)
    if parts:
        names = " and ".join(f"{p.name}/" for p in parts)
        listing.leave_out([p for p in folders if p not in parts], f"beside {names}, so no class")
    for folder, part in parts.items():
        files, classes = listing.look(folder, follow=True)
        loose += files
        for path in classes:
            listing.add_class(path, part)
    for path in () if parts else folders:
        listing.add_class(path, None)
    listing.leave_out(loose, "not in the folder of a class")
    listing.files.sort(key=lambda f: (f.label, ORDER.index(f.part)))  # stable: files stay sorted
    listing.classes = sorted(set(listing.classes))
    return listing


def _parts(listing: Listing, folders: list[Path]) -> dict[Path, Partition]:
    """The folders that are parts of a dataset; none where they are classes with such names.

    Raises:
        InputError: parts without classes.
    """
    parts = {p: PARTS[p.name.casefold()] for p in folders if p.name.casefold() in PARTS}
    parts = dict(sorted(parts.items(), key=lambda item: ORDER.index(item[1])))
    above = any(Listing(listing.root, listing.where).look(p, follow=True)[1] for p in parts)
    several = len(set(parts.values())) > 1
    if several and not above:
        names = " and ".join(f"{p.name}/" for p in parts)
        raise InputError(
            f"{listing.where}: {names} are parts of a dataset, not classes, and hold no folders. "
            "Put the images of each class into a folder, in or without a part."
        )
    return parts if above and (several or len(parts) == len(folders)) else {}


def _useless(entry: Path, directory: bool, follow: bool) -> str:
    """Why a file or folder cannot be an example or hold one; empty if it may."""
    if directory:
        if entry.name.casefold() in THUMBNAILS:
            return f"folder of thumbnails, files in it: {_count(entry)}"
        if entry.name.startswith("."):
            return f"hidden folder, files in it: {_count(entry)}"
        if not entry.is_symlink():
            return ""
        if entry.parent.resolve().is_relative_to(entry.resolve()):
            return "link to a folder that it is in"
        return "" if follow else "link to a folder, which is not followed"
    if entry.name.startswith("."):
        return "hidden file"
    if entry.name.casefold() in SYSTEM:
        return "file of the system"
    if entry.is_symlink() and not entry.exists():
        return "link to a file that is not there"
    if not entry.is_file():
        return "neither file nor folder"
    return "" if entry.stat().st_size else "empty file"


def _count(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))
