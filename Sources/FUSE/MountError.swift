package import SystemPackage

/// Why a filesystem could not be mounted: what failed, and what to do about it.
package struct MountError: Error, Equatable, CustomStringConvertible {
  /// What was in the way.
  package enum Cause: Sendable, Equatable {
    /// There is no usable /dev/fuse.
    case noDevice
    /// fusermount3(1) is not installed, and only root can do without.
    case noFusermount
    /// Neither mount(2) nor fusermount3(1) was allowed to.
    case notPermitted
    /// The place to mount on is not there, no directory, or not ours.
    case mountpoint(Errno)
    /// The place to mount on belongs to a filesystem whose daemon has died.
    case stale
    /// `allow_other` is not allowed to users in /etc/fuse.conf.
    case allowOther
    /// An option that libfuse or the kernel refuses.
    case refused
  }

  package let cause: Cause
  /// For the user: a sentence or two.
  package let description: String

  /// An error of the given cause and words.
  package init(_ cause: Cause, _ description: String) {
    self.cause = cause
    self.description = description
  }
}
