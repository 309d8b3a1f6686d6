import P2PFSCore
import ArgumentParser
import P2PFSFUSE

extension CompletionKind {
  /// Where p2pfs has mounted something. Names that are no UTF-8 cannot be written by ArgumentParser.
  static var mounted: CompletionKind {
    .custom { _, _, _ in
      MountInfo().entries.filter { $0.type == "fuse.p2pfs" }.compactMap { completion($0.mountpoint) }
    }
  }

  /// Mount options, those that stand alone and those that want a value.
  static var mountOptions: CompletionKind {
    .list([
      "ro", "allow_other", "default_permissions", "follow_symlinks", "noatime", "noexec", "reconnect", "idmap=user",
      "uid=", "gid=", "umask=", "attr_timeout=", "entry_timeout=", "timeout=", "max_read=", "fsname=",
    ])
  }

  /// A word as the shell that asks wants it; nil if it cannot be had without danger.
  ///
  /// Any user can mount something, under any name, and root's bash expands what it is given to choose from
  /// ("compgen -W"), command substitutions among it.
  private static func completion(_ word: String) -> String? {
    // They separate the words, or a word from its description (fish).
    guard !word.hasEscapedBytes else { return nil }
    if word.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7f }) { return nil }
    switch CompletionShell.requesting {
    case .bash: return escaped(word) { !plain.contains($0) }
    // What follows a colon is the description.
    case .zsh: return escaped(word) { $0 == ":" || $0 == "\\" }
    default: return word
    }
  }

  /// Puts a backslash before some characters of ASCII; no other has a meaning for a shell. By scalar, since a character
  /// can be made of a letter and the dollar sign behind it.
  private static func escaped(_ word: String, where mustBe: (Unicode.Scalar) -> Bool) -> String {
    word.unicodeScalars.reduce(into: "") { $0 += $1.isASCII && mustBe($1) ? "\\\($1)" : String($1) }
  }

  /// What means itself in a shell.
  private static let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+".unicodeScalars)
}
