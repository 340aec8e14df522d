"""Networks that a user's Python file defines, run so that they meet nothing of ours or others'.

A model file may import its neighbours, whatever they are called: ``sim``, ``common``, ``tests``
or ``utils`` in its folder, with or without ``__init__.py``. The caller may have modules of these
names too. So the file and its neighbours are modules of a private package per file, and what an
import statement in one of them finds is decided there: first the folder, then all else. That holds
for as long as the model lives, also for imports inside ``forward``, and two files may have
neighbours of the same name. Nothing of it is in ``sys.path``, nor in ``sys.modules`` under the
user's names.

What does not go through an import statement, such as ``importlib.import_module("utils")`` and
pickles, finds the neighbours by their own names while :func:`running` is active: while the file
is loaded, and in every flow that runs the model.
"""

import builtins
import contextlib
import functools
import importlib
import itertools
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    FrozenImporter,
    ModuleSpec,
    PathFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from tritforge.model_export.errors import ModelError
from tritforge.model_export.zoo import ZOO

__all__ = ["load_model", "running"]

#: First part of the names of private packages.
_PREFIX = "_tritforge_model_"
_numbers = itertools.count()
#: Characters of a user's exception that a message quotes.
_LONGEST = 2000


def load_model(spec: str) -> nn.Module:
    """The network that ``spec`` names, with the weights it is built with.

    Parameters
    ----------
    spec
        ``zoo:NAME``, or ``FILE.py:NAME`` where NAME is a class or function that takes no
        arguments and gives an ``nn.Module`` (or is one). The file is run as Python code that can
        import what lies in its folder, as ``python FILE.py`` could; ``sys.argv`` holds its path
        only, and what it prints goes to standard error. It is run anew in every call.

    Raises
    ------
    ModelError
        No such network, file or name; the file or the builder raises; the result is no
        ``nn.Module``.
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise ModelError(f"model {spec!r} is neither FILE.py:NAME nor zoo:NAME")
    if place == "zoo":
        if name not in ZOO:
            raise ModelError(f"the zoo has no network {name!r}; it has {', '.join(sorted(ZOO))}")
        return ZOO[name]()
    path = Path(place)
    if not path.is_file():
        raise ModelError(
            f"model file {place} is a folder"
            if path.is_dir()
            else f"model file {place} does not exist"
        )
    if path.suffix not in SOURCE_SUFFIXES:
        raise ModelError(f"model file {path} is not a Python file: its name must end in .py")
    home = _Home(path)
    try:
        with home.running():
            return home.build(name)
    except BaseException:
        home.forget()
        raise


@contextmanager
def running(model: nn.Module) -> Iterator[None]:
    """While it is active, the model's files find their neighbours by every way of importing,
    ``sys.argv`` holds no arguments of ours, and what is printed goes to standard error.

    Changes nothing for a model that no file of a user's defines.
    """
    names = {type(module).__module__.partition(".")[0] for module in model.modules()}
    with contextlib.ExitStack() as stack:
        for name in sorted(names & _homes.keys()):
            stack.enter_context(_homes[name].running())
        yield


class _Home:
    """The private package of a model file: the file, its neighbours, and what they import."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = f"{_PREFIX}{next(_numbers)}"
        self.folder = str(path.resolve().parent)
        # Folders that the file itself puts first or last in sys.path.
        self.first: list[str] = []
        self.last: list[str] = []
        self.search_path: list[str] | None = None  # sys.path before, while this is running
        self.finders: dict[str, FileFinder] = {}
        self.builtins = {**vars(builtins), "__import__": self.import_statement}
        package = ModuleType(self.name)
        package.__path__ = [self.folder]
        sys.modules[self.name] = package
        _homes[self.name] = self
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())

    def forget(self) -> None:
        """Leave no trace; for a file that could not be loaded."""
        del _homes[self.name]
        for name in [name for name in sys.modules if name.partition(".")[0] == self.name]:
            del sys.modules[name]

    def build(self, name: str) -> nn.Module:
        """Run the file and give what it calls ``name``."""
        module = self._run()
        try:
            return self._made(module, name)
        except (KeyboardInterrupt, ModelError):
            raise
        except BaseException as error:
            cure = ""
            if isinstance(error, TypeError) and "required positional argument" in str(error):
                cure = "; name a function without arguments that returns the network"
            raise ModelError(
                f"building {name} of {self.path} failed: {self._reason(error)}{cure}"
            ) from error

    def _made(self, module: ModuleType, name: str) -> nn.Module:
        place = self.path
        if not hasattr(module, name):
            raise ModelError(f"model file {place} defines no {name!r}")
        made = getattr(module, name)
        if not isinstance(made, nn.Module):
            if not callable(made):
                raise ModelError(
                    f"{name} in {place} is of type {type(made).__name__}, not a "
                    f"class or function that gives an nn.Module"
                )
            made = made()
        if not isinstance(made, nn.Module):
            raise ModelError(
                f"{name} in {place} gives an object of type {type(made).__name__}, not an nn.Module"
            )
        return made

    def _run(self) -> ModuleType:
        name = f"{self.name}.{self.path.stem.replace('.', '_')}"
        spec = self.find(name, [self.folder])
        if spec is None or spec.origin is None or not os.path.samefile(spec.origin, self.path):
            # a name with a dot in it, or that of a package beside it
            name = f"{self.name}.__model__"
            loader = _ModelLoader(name, str(self.path.resolve()), home=self)
            spec = spec_from_file_location(name, self.path.resolve(), loader=loader)
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise ModelError(
                f"running model file {self.path} failed: {self._reason(error)}"
            ) from error
        return module

    def _reason(self, error: BaseException) -> str:
        """One line: what was raised, and its message."""
        try:
            message = " ".join(str(error).split()).replace(f"{self.name}.", "")
            message = message if len(message) <= _LONGEST else f"{message[:_LONGEST]} .."
        except BaseException:  # an exception of the user's that cannot be printed
            message = ""
        return f"{type(error).__name__}: {message}" if message else type(error).__name__

    # ----- importing

    def find(self, name: str, folders: Sequence[str]) -> ModuleSpec | None:
        """The module or package of these folders that ``name`` ends in.

        Python's own finder of files finds it, with a loader for source files that gives them the
        import statement of this package.
        """
        loaders: list[tuple[Any, list[str]]] = [
            (ExtensionFileLoader, EXTENSION_SUFFIXES),
            (functools.partial(_ModelLoader, home=self), SOURCE_SUFFIXES),
            (SourcelessFileLoader, BYTECODE_SUFFIXES),
        ]
        portions: list[str] = []
        for folder in folders:
            if folder not in self.finders:
                self.finders[folder] = FileFinder(folder, *loaders)
            spec = self.finders[folder].find_spec(name)
            if spec is not None and spec.loader is not None:
                return spec
            if spec is not None:
                portions += spec.submodule_search_locations or []
        # a folder of checkpoints called torch is no package
        if any(next(Path(portion).rglob("*.py"), None) for portion in portions):
            spec = ModuleSpec(name, None, is_package=True)
            spec.submodule_search_locations = portions
            return spec
        return None

    def find_neighbour(self, top: str) -> ModuleSpec | None:
        """What a neighbour called ``top`` would be loaded from; None where there is none."""
        if (
            top == "tritforge"
            or top in sys.builtin_module_names
            or FrozenImporter.find_spec(top) is not None
        ):
            return None
        name = f"{self.name}.{top}"
        first, last = self._added()
        if self.folder not in _installed_folders():
            first = [*first, self.folder]
        if (spec := self.find(name, first)) is not None:
            return spec
        before = sys.path if self.search_path is None else self.search_path
        if last and PathFinder.find_spec(top, before) is None:
            return self.find(name, last)
        return None

    def has(self, top: str) -> bool:
        """Whether a neighbour is called ``top``."""
        return f"{self.name}.{top}" in sys.modules or self.find_neighbour(top) is not None

    def _added(self) -> tuple[list[str], list[str]]:
        """Folders that the model's files have put into ``sys.path``, before and after all else."""
        first, last = [*self.first], [*self.last]
        if self.search_path is not None:
            known = {*self.search_path, *first, *last}
            begun = False
            for entry in sys.path:
                if not isinstance(entry, str):  # Python's import ignores it too
                    continue
                begun |= entry in self.search_path
                folder = os.path.abspath(entry)
                if entry not in known and folder not in known:
                    (last if begun else first).append(folder)
        return first, last

    def import_statement(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What ``__import__`` is in the model's files."""
        top = name.partition(".")[0]
        if level or not self.has(top):
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = importlib.import_module(f"{self.name}.{name}")
        if fromlist:
            return builtins.__import__(module.__name__, globals, locals, fromlist, 0)
        return sys.modules[f"{self.name}.{top}"]

    @contextmanager
    def running(self) -> Iterator[None]:
        """See :func:`running`."""
        argv, paths, before, outer = sys.argv, sys.path, [*sys.path], self.search_path
        folder, modules = _current_folder(), sys.modules.copy()
        for finder in self.finders.values():
            finder.invalidate_caches()
        tops = {top for name in sys.modules if self.answers(top := name.partition(".")[0])}
        neighbours = {top for top in tops if self.has(top)}
        for name in modules:
            if name.partition(".")[0] in neighbours:
                del sys.modules[name]
        sys.argv, self.search_path = [str(self.path)], before
        _active.append(self)
        try:
            with contextlib.redirect_stderr(sys.stderr), contextlib.redirect_stdout(sys.stderr):
                yield
        except SystemExit as error:
            raise ModelError(
                f"model file {self.path} ends the program: {self._reason(error)}"
            ) from error
        finally:
            _active.pop()
            self.first, self.last = self._added()
            sys.argv, sys.path, self.search_path = argv, paths, outer
            sys.path[:] = before
            if folder is not None and folder != _current_folder():
                os.chdir(folder)
            for name, module in [*sys.modules.items()]:
                own = str(getattr(module, "__name__", "")).partition(".")[0] == self.name
                if own and name.partition(".")[0] != self.name:
                    del sys.modules[name]
            sys.modules.update(modules)

    @staticmethod
    def answers(name: str) -> bool:
        """Whether the name of a module may mean a neighbour to those who are not neighbours: what
        belongs to Python must stay what it is for all others."""
        top = name.partition(".")[0]
        return top not in sys.stdlib_module_names and not top.startswith(_PREFIX)


def _current_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it has been removed
        return None


@functools.cache
def _installed_folders() -> set[str]:
    """Where packages are installed: what lies there is no neighbour of a model file there."""
    folders = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return {os.path.realpath(folder) for folder in {*folders, site.getusersitepackages()}}


#: Private packages by name, and those that are running, the innermost last.
_homes: dict[str, _Home] = {}
_active: list[_Home] = []


class _ModelLoader(SourceFileLoader):
    """Loads a source file of a private package, whose import statements that package answers."""

    def __init__(self, fullname: str, path: str, *, home: _Home) -> None:
        super().__init__(fullname, path)
        self._home = home

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._home.builtins
        super().exec_module(module)

    def path_stats(self, path: str) -> Mapping[str, Any]:
        """Keeps compiled files out: none is written into the user's folder, and none is taken for
        that of a source that was edited within the same second."""
        raise OSError(f"{path} is always compiled")


class _Finder(MetaPathFinder):
    """Finds what is in private packages; and, while one is running, its neighbours by their own
    names, as the same modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        top, _, rest = fullname.partition(".")
        home = _homes.get(top)
        if home is not None:
            spec = home.find(fullname, path or ()) if "." in rest else home.find_neighbour(rest)
            if spec is None:  # and nobody else shall look for it
                raise ModuleNotFoundError(f"No module named {rest!r}", name=fullname)
            return spec
        if _active and _Home.answers(fullname) and _active[-1].has(top):
            own = f"{_active[-1].name}.{fullname}"
            if find_spec(own) is not None:
                return ModuleSpec(fullname, _Alias(own))
        return None


class _Alias(Loader):
    """Loads a module of a private package under a second name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = importlib.import_module(self.name)
