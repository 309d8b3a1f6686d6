"""Changes a directory in some thousand ways that depend on a seed alone, for Tests/Lab/exactly-once: on a mount whose
exporter dies and whose link is cut, all results and the tree at the end are those of a local directory.

    changes.py DIRECTORY COUNT SEED [SECONDS]   prints a line for each change: its number, what it was, how it ended.
                                                SECONDS: spread over at least so many
    changes.py --tree DIRECTORY                 prints what is there: path, mode, links, size, contents
"""
import errno
import hashlib
import os
import random
import stat
import sys
import time


def tree(top):
    for path, directories, files in os.walk(top):
        directories.sort()
        for name in sorted(directories + files):
            full = os.path.join(path, name)
            status = os.lstat(full)
            print(os.path.relpath(full, top), oct(status.st_mode), end=" ")
            if stat.S_ISLNK(status.st_mode):
                print(os.readlink(full))
            elif stat.S_ISREG(status.st_mode):
                with open(full, "rb") as file:
                    print(status.st_nlink, status.st_size, hashlib.sha256(file.read()).hexdigest())
            else:
                print()


class Changes:
    def __init__(self, top, seed):
        self.top, self.random = top, random.Random(seed)
        self.open = []
        self.kinds = [
            (self.mkdir, 8), (self.rmdir, 4), (self.create, 14), (self.unlink, 8), (self.rename, 14), (self.exchange, 3),
            (self.link, 6), (self.symlink, 4), (self.append, 16), (self.write, 10), (self.truncate, 4), (self.chmod, 4),
            (self.replace, 6), (self.hold, 4), (self.held, 12), (self.mknod, 2),
        ]

    def name(self):
        # Few names, so that many changes meet what is there, or is not there.
        depth = self.random.choice([0, 0, 0, 1, 1, 2])
        return "/".join(f"{'d' if i < depth else 'n'}{self.random.randrange(4 if i < depth else 12)}" for i in range(depth + 1))

    def path(self, name):
        return os.path.join(self.top, name)

    def data(self):
        return self.random.randbytes(self.random.choice([1, 100, 5_000, 40_000, 200_000]))

    def one(self):
        kind = self.random.choices([k for k, _ in self.kinds], [w for _, w in self.kinds])[0]
        try:
            return kind.__name__, kind() or "done"
        except OSError as error:
            return kind.__name__, errno.errorcode.get(error.errno, error.errno)

    def mkdir(self):
        os.mkdir(self.path(self.random.choice([self.name(), f"d{self.random.randrange(4)}"])))

    def rmdir(self):
        os.rmdir(self.path(self.name()))

    def create(self):
        file = os.open(self.path(self.name()), os.O_CREAT | os.O_EXCL | os.O_WRONLY, self.random.choice([0o644, 0o600, 0o755]))
        try:
            os.write(file, self.data())
        finally:
            os.close(file)

    def unlink(self):
        os.unlink(self.path(self.name()))

    def rename(self):
        os.rename(self.path(self.name()), self.path(self.name()))

    def exchange(self):
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        one, other = self.path(self.name()).encode(), self.path(self.name()).encode()
        if libc.renameat2(-100, one, -100, other, 2) != 0:
            raise OSError(ctypes.get_errno(), "")

    def link(self):
        os.link(self.path(self.name()), self.path(self.name()), follow_symlinks=False)

    def symlink(self):
        os.symlink(f"t{self.random.randrange(100)}", self.path(self.name()))

    def mknod(self):
        os.mkfifo(self.path(self.name() + "p"))

    def append(self):
        data, name = self.data(), self.name()
        file = os.open(self.path(name), os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_NOFOLLOW, 0o644)
        try:
            count = os.write(file, data)
        finally:
            os.close(file)
        return f"{count} of {len(data)}"

    def write(self):
        data, offset, name = self.data(), self.random.randrange(300_000), self.name()
        file = os.open(self.path(name), os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o644)
        try:
            os.pwrite(file, data, offset)
            os.fsync(file)
            return hashlib.sha256(os.pread(file, 1_000_000, 0)).hexdigest()[:12]
        finally:
            os.close(file)

    def truncate(self):
        os.truncate(self.path(self.name()), self.random.randrange(100_000))

    def chmod(self):
        mode, path = self.random.choice([0o644, 0o600, 0o755, 0o640]), self.path(self.name())
        if os.path.islink(path):
            return "a link"
        os.chmod(path, mode)

    def replace(self):
        """As an editor saves."""
        data, name = self.data(), self.name()
        with open(self.path(name + "~"), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(self.path(name + "~"), self.path(name))

    def hold(self):
        """Opens a file that stays open, under a name that nothing else changes but `held`."""
        number = len(self.open)
        self.open.append((os.open(self.path(f"held{number}"), os.O_CREAT | os.O_RDWR, 0o444), number))

    def held(self):
        if not self.open:
            return "none"
        (file, number), data, offset = self.random.choice(self.open), self.data(), self.random.randrange(100_000)
        if self.random.randrange(3) == 0:
            os.rename(self.path(f"held{number}"), self.path(f"held{number}x"))
            os.rename(self.path(f"held{number}x"), self.path(f"held{number}"))
        os.pwrite(file, data, offset)
        if self.random.randrange(2):
            os.fsync(file)
        return hashlib.sha256(os.pread(file, 1_000_000, 0)).hexdigest()[:12]


if sys.argv[1] == "--tree":
    tree(sys.argv[2])
else:
    top, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pace = float(sys.argv[4]) / count if len(sys.argv) > 4 else 0
    os.umask(0o022)
    changes, start = Changes(top, seed), time.monotonic()
    for number in range(count):
        print(number, *changes.one(), flush=True)
        time.sleep(max(0, start + pace * (number + 1) - time.monotonic()))
    for file, number in changes.open:
        try:
            os.close(file)
        except OSError as error:
            print("close", number, errno.errorcode.get(error.errno))
