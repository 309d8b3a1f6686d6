import P2PFSCore
import Glibc
import SystemPackage

/// How a peer's folder shows here: the options of `p2pfs mount -o`, in the words that sshfs users type.
package struct MountOptions: Sendable, Equatable {
  /// An option that cannot be had, and why.
  package struct Refused: Error, Equatable, CustomStringConvertible {
    package let description: String
  }

  /// Nothing may be changed.
  package var isReadOnly = false
  /// Users other than the one who mounted may enter; implies `checksPermissions`.
  package var allowsOthers = false
  /// The kernel compares modes and owner, before we ask the peer.
  package var checksPermissions = false
  /// Owner and group that all files show.
  package var user: UInt32 = getuid()
  package var group: UInt32 = getgid()
  /// Permission bits that do not show.
  package var umask: UInt32 = 0
  /// Symbolic links are shown as they are, also those that lead out of the share: to files of this computer.
  package var followsSymlinks = false
  /// The kernel follows no symbolic link of the mount (mount(2), MS_NOSYMFOLLOW): so all can be shown as they are.
  package var followsNoSymlinks = false
  /// Seconds that attributes, and names, are believed without asking.
  package var attributeTimeout = Limits.Mount.validity
  package var entryTimeout = Limits.Mount.validity
  /// Seconds without the peer after which operations fail; for the session.
  package var timeout = Limits.Session.timeout
  /// The most bytes of one read of the kernel; nil for its own limit.
  package var maxRead: UInt32?
  /// What shows as the source of the mount.
  package var source = "p2pfs"
  /// Flags of mount(8) that go to the kernel as they are: `noatime`, `noexec` and the like.
  package var kernelFlags: [String] = []

  /// What holds without any option.
  package init() {}

  /// Reads options as they stand behind `-o`, separated by commas; `\,` is a comma in a value.
  /// - Throws: what is refused, with the reason.
  package init(_ text: String) throws(Refused) {
    self.init()
    try apply(text)
  }

  /// Adds options to these; later ones win.
  package mutating func apply(_ text: String) throws(Refused) {
    for option in MountOptions.split(text) where !option.isEmpty {
      let parts = option.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = String(parts[0])
      try apply(name, parts.count == 2 ? String(parts[1]) : nil)
    }
  }

  private mutating func apply(_ name: String, _ value: String?) throws(Refused) {
    if let value { try apply(name, value: value) } else { try apply(flag: name) }
  }

  private mutating func apply(_ name: String, value: String) throws(Refused) {
    switch name {
    case "uid": user = try MountOptions.number(name, value)
    case "gid": group = try MountOptions.number(name, value)
    case "umask":
      guard let mask = UInt32(value, radix: 8), mask <= 0o777 else {
        throw Refused(description: "umask=\(value): an octal number up to 777 is wanted")
      }
      umask = mask
    case "attr_timeout", "ac_attr_timeout": attributeTimeout = try MountOptions.seconds(name, value)
    case "entry_timeout": entryTimeout = try MountOptions.seconds(name, value)
    case "timeout": timeout = try MountOptions.seconds(name, value)
    case "max_read":
      let bytes: UInt32 = try MountOptions.number(name, value)
      guard bytes >= 4096, bytes <= 1_048_576 else {
        throw Refused(description: "max_read=\(value): from 4096 to 1048576 is possible")
      }
      maxRead = bytes
    case "fsname":
      guard !value.isEmpty, !value.contains(where: { $0 == "\n" || $0 == "\0" }) else {
        throw Refused(description: "fsname: a name is wanted")
      }
      source = value
    case "idmap":
      guard value == "user" else {
        throw Refused(
          description: "idmap=\(value): there is only idmap=user, everything belongs to whoever mounted it")
      }
    case "subtype": throw Refused(description: "subtype: the type is always fuse.p2pfs")
    case "negative_timeout", "noforget", "max_write", "max_background", "congestion_threshold", "max_readahead":
      break
    default:
      if name.hasPrefix("x-") || name == "comment" { return }
      throw MountOptions.unknown(name)
    }
  }

  private mutating func apply(flag: String) throws(Refused) {
    switch flag {
    case "ro": isReadOnly = true
    case "rw": isReadOnly = false
    case "allow_other": allowsOthers = true
    case "default_permissions": checksPermissions = true
    case "follow_symlinks": followsSymlinks = true
    case "nosymfollow": followsNoSymlinks = true
    case "symfollow": followsNoSymlinks = false
    case "noatime", "nodiratime", "relatime", "strictatime", "noexec", "sync", "dirsync":
      kernelFlags.removeAll { $0 == flag }
      kernelFlags.append(flag)
    case "exec": kernelFlags.removeAll { $0 == "noexec" }
    case "atime": kernelFlags.removeAll { $0 == "noatime" }
    case "nosuid", "nodev", "reconnect", "kernel_cache", "auto_cache", "defaults", "async", "auto", "noauto", "user",
      "users", "nouser", "owner", "group", "nofail", "_netdev", "big_writes", "intr", "compression", "diratime",
      "norelatime", "nostrictatime", "nonempty", "nolazytime", "silent", "loud":
      break
    case "suid", "dev":
      throw Refused(description: "\(flag): a mount of somebody else's files is always nosuid and nodev")
    case "allow_root": throw Refused(description: "allow_root: root may be let in with allow_other only")
    case "writeback_cache", "direct_io", "cache":
      throw Refused(description: "\(flag): p2pfs decides this for each file")
    case "uid", "gid", "umask", "attr_timeout", "entry_timeout", "timeout", "max_read", "fsname", "idmap":
      throw Refused(description: "\(flag): a value is wanted, \(flag)=…")
    default:
      if flag.hasPrefix("x-") { return }
      throw MountOptions.unknown(flag)
    }
  }

  /// Says of an option that does not exist what to do instead, if it is one of sshfs or ssh.
  private static func unknown(_ name: String) -> Refused {
    let instead: [String: String] = [
      "Port": "a signaling server's port goes into the code, CODE@HOST:PORT",
      "port": "a signaling server's port goes into the code, CODE@HOST:PORT",
      "ServerAliveInterval": "timeout=SECONDS says how long the other side may be away",
      "ServerAliveCountMax": "timeout=SECONDS says how long the other side may be away",
      "ConnectTimeout": "timeout=SECONDS says how long the other side may be away",
      "cache_timeout": "attr_timeout= and entry_timeout= say how long is believed what was heard",
      "cache_stat_timeout": "attr_timeout= says how long attributes are believed",
      "cache_dir_timeout": "entry_timeout= says how long names and listings are believed",
      "cache_link_timeout": "entry_timeout= says how long names and listings are believed",
      "dcache_timeout": "entry_timeout= says how long names and listings are believed",
      "dcache_stat_timeout": "attr_timeout= says how long attributes are believed",
      "dcache_dir_timeout": "entry_timeout= says how long names and listings are believed",
      "transform_symlinks": "absolute links that lead into the mount show in any case; for others see follow_symlinks",
      "noauto_cache": "contents are kept only while a file is unchanged", "debug": "-f -v shows more",
      "sshfs_debug": "-f -v shows more", "loglevel": "-f -v shows more", "LogLevel": "-f -v shows more",
      "Compression": "nothing is compressed; leave it out",
    ]
    let ofSSH: Set = [
      "IdentityFile", "IdentitiesOnly", "StrictHostKeyChecking", "UserKnownHostsFile", "GlobalKnownHostsFile",
      "Ciphers", "MACs", "KexAlgorithms", "HostKeyAlgorithms", "PubkeyAuthentication", "PasswordAuthentication",
      "PreferredAuthentications", "BatchMode", "ProxyCommand", "ProxyJump", "ControlMaster", "ControlPath",
      "ControlPersist", "ForwardAgent", "TCPKeepAlive", "User", "HostName", "ssh_command", "ssh_protocol",
      "sftp_server", "directport", "password_stdin", "slave", "passive", "workaround", "max_conns", "delay_connect",
      "sshfs_sync",
      "no_readahead", "sync_readdir", "disable_hardlink", "dir_cache", "dcache_max_size", "dcache_clean_interval",
      "dcache_min_clean_interval", "cache_max_size", "cache_clean_interval", "nomap", "uidfile", "gidfile",
      "unreliable_append", "buflimit", "vsock",
    ]
    if let instead = instead[name] { return Refused(description: "\(name): unknown option; \(instead)") }
    if ofSSH.contains(name) {
      return Refused(description: "\(name): unknown option; it is for ssh or sshfs, and has no use here: leave it out")
    }
    return Refused(description: "\(name): unknown option")
  }

  private static func split(_ text: String) -> [String] {
    var result = [""]
    var isEscaped = false
    for character in text {
      if isEscaped {
        result[result.count - 1].append(character)
        isEscaped = false
      } else if character == "\\" {
        isEscaped = true
      } else if character == "," {
        result.append("")
      } else {
        result[result.count - 1].append(character)
      }
    }
    return result
  }

  private static func number(_ name: String, _ value: String) throws(Refused) -> UInt32 {
    guard let number = UInt32(value), number != .max else {
      throw Refused(description: "\(name)=\(value): a number is wanted")
    }
    return number
  }

  private static func seconds(_ name: String, _ value: String) throws(Refused) -> Double {
    guard let number = Double(value), number >= 0, number <= 86_400 else {
      throw Refused(description: "\(name)=\(value): seconds are wanted, up to 86400")
    }
    return number
  }

  /// The options for the kernel and libfuse.
  var mountWords: [String] {
    let escaped = source.reduce(into: "") { text, character in
      if character == "," || character == "\\" { text.append("\\") }
      text.append(character)
    }
    var words = ["fsname=\(escaped)", "subtype=p2pfs", "nosuid", "nodev"] + kernelFlags
    if isReadOnly { words.append("ro") }
    if allowsOthers { words.append("allow_other") }
    if checksPermissions || allowsOthers { words.append("default_permissions") }
    return words
  }
}
