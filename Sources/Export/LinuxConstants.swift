// Constants of Linux that the Glibc module hides behind _GNU_SOURCE; the same on every architecture that Swift runs on.

/// open(2): a descriptor that names a file without opening it.
let O_PATH: CInt = 0o10_000_000
/// statx(2): no automounter is woken.
let AT_NO_AUTOMOUNT: CInt = 0x800
/// statx(2): an empty path means the descriptor itself.
let AT_EMPTY_PATH: CInt = 0x1000
/// statx(2): what the kernel has cached is enough.
let AT_STATX_DONT_SYNC: CInt = 0x4000
/// lseek(2): the next data.
let SEEK_DATA: CInt = 3
/// lseek(2): the next hole.
let SEEK_HOLE: CInt = 4
