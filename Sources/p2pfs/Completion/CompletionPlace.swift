import P2PFSCore
import Glibc

/// Where a shell looks for completion scripts.
struct CompletionPlace {
  /// The absolute path of the script of p2pfs.
  let path: String
  /// What the user does next, in one sentence or several.
  let next: String

  /// - Parameter isForAll: the place that serves all users of this computer, instead of the user's own.
  init(_ shell: CompletedShell, isForAll: Bool) throws(Failure) {
    switch shell {
    case .bash:
      // bash-completion(7), __load_completion: first the user's directory, then those of XDG_DATA_DIRS.
      var directory = "/usr/local/share/bash-completion"
      if !isForAll {
        if let own = CompletionPlace.directory(named: "BASH_COMPLETION_USER_DIR") {
          directory = own
        } else {
          directory = try CompletionPlace.directory(named: "XDG_DATA_HOME", or: ".local/share") + "/bash-completion"
        }
      }
      path = directory + "/completions/p2pfs"
      let isRead = ["/usr/share", "/usr/local/share"].contains {
        access($0 + "/bash-completion/bash_completion", R_OK) == 0
      }
      next =
        isRead
        ? "The next bash that is started has it."
        : "bash reads it by means of the package bash-completion, which is not on this computer: install that, or put "
          + "this line into ~/.bashrc:\n\n    source \(Shell.quoted(path))\n"
    case .zsh:
      var directory = "/usr/local/share/zsh/site-functions"
      let compinit = "autoload -Uz compinit && compinit"
      if isForAll {
        next = "The next zsh that is started has it, where ~/.zshrc has this line:\n\n    \(compinit)\n"
      } else {
        // No directory of the user's own stands in fpath unless somebody puts it there.
        directory = try CompletionPlace.directory(named: "XDG_DATA_HOME", or: ".local/share") + "/zsh/site-functions"
        next =
          "zsh looks there if ~/.zshrc has these lines, the first before any other with compinit:\n\n"
          + "    fpath=(\(Shell.quoted(directory)) $fpath)\n    \(compinit)\n"
      }
      path = directory + "/_p2pfs"
    case .fish:
      // fish(1), fish_complete_path.
      var directory = "/etc/fish"
      if !isForAll { directory = try CompletionPlace.directory(named: "XDG_CONFIG_HOME", or: ".config") + "/fish" }
      path = directory + "/completions/p2pfs.fish"
      next = "Every fish has it, also those that are running."
    }
  }

  /// Writes the script there in one step, so that a shell that starts meanwhile reads the old or the new one.
  func write(_ script: String) throws(Failure) {
    var parent = ""
    for component in path.split(separator: "/").dropLast() {
      parent += "/" + component
      mkdir(parent, 0o755)
    }
    let temporary = "\(path).\(getpid())"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw failure(errno) }
    let bytes = Array(script.utf8)
    let count = Glibc.write(descriptor, bytes, bytes.count)
    var error = count < 0 ? errno : count < bytes.count ? ENOSPC : 0
    if close(descriptor) != 0, error == 0 { error = errno }
    if error == 0, rename(temporary, path) != 0 { error = errno }
    guard error == 0 else {
      unlink(temporary)
      throw failure(error)
    }
  }

  private func failure(_ error: Int32) -> Failure {
    Failure(.failed, "cannot write \(Console.escaped(path)): \(String(cString: strerror(error)))")
  }

  /// The directory that a variable names; nil if it is none, or relative, which the XDG specification says to ignore.
  private static func directory(named variable: String) -> String? {
    guard let value = Settings.environment(variable), value.hasPrefix("/") else { return nil }
    return value
  }

  /// The directory that a variable names, else one in the user's home.
  private static func directory(named variable: String, or inHome: String) throws(Failure) -> String {
    if let named = directory(named: variable) { return named }
    if let home = directory(named: "HOME") { return "\(home)/\(inHome)" }
    throw Failure(.failed, "HOME is not set, so there is no place for the script; print it without --install")
  }
}
