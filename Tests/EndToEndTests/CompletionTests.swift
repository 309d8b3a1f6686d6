import Glibc
import Testing

extension EndToEnd {
  /// What the shells make of the scripts that complete arguments.
  @Suite struct Completions {
    @Test(arguments: ["bash", "zsh", "fish"])
    func `the shell accepts its script`(_ shell: String) throws {
      try Stage.run { stage in
        let b = try stage.computer("b")
        let named = try b.p2pfs("completions", shell)
        #expect(named.status == 0 && named.errors.isEmpty && named.output.contains("export"), "\(named)")
        let found = try b.p2pfs("completions", environment: ["SHELL": "/usr/bin/\(shell)"])
        #expect(found.output == named.output)
        try b.shell("\"$P\" completions $S > script; $S -n script", ["P": Stage.program, "S": shell])
      }
    }

    @Test func `a shell that is not known is refused`() throws {
      try Stage.run { stage in
        let b = try stage.computer("b")
        #expect(try b.p2pfs("completions", "csh").status == 2)
        #expect(try b.p2pfs("completions", "--install", environment: ["SHELL": "/bin/csh"]).status == 2)
        let none = try b.p2pfs("completions")
        #expect(none.status == 2 && none.output.isEmpty && none.errors.contains("SHELL"), "\(none)")
      }
    }

    @Test func `bash completes commands, options and arguments`() throws {
      try Stage.run { stage in
        let b = try stage.computer("b")
        #expect(try inBash(b, "p2pfs", "e") == ["export"])
        let commands = try inBash(b, "p2pfs", "")
        for command in ["export", "mount", "umount", "signal", "completions"] { #expect(commands.contains(command)) }
        #expect(try inBash(b, "p2pfs", "export", "--read").contains("--read-only"))
        #expect(try inBash(b, "p2pfs", "completions", "") == ["bash", "zsh", "fish"])
        #expect(try inBash(b, "p2pfs", "mount", "123456-lusab-babad", "-o", "allow") == ["allow_other"])
        try b.shell("mkdir -p folder; touch file")
        #expect(try inBash(b, "p2pfs", "export", "f") == ["folder"])
        #expect(try inBash(b, "p2pfs", "mount", "123456-lusab-babad", "f") == ["folder"])
        #expect(try inBash(b, "p2pfs", "export", "folder", "--mount", "f") == ["folder"])
        #expect(try inBash(b, "p2pfs", "signal", "--tls-cert", "f").sorted() == ["file", "folder"])
      }
    }

    @Test func `fish completes commands and folders`() throws {
      try Stage.run { stage in
        let b = try stage.computer("b")
        let found = try b.shell(
          """
          mkdir folder; touch file; "$P" completions fish > script
          fish --no-config -c 'source script; complete -C "p2pfs exp"; complete -C "p2pfs export f"'
          """, ["P": Stage.program])
        #expect(found.contains("export\t"))
        #expect(found.contains("folder/") && !found.contains("file"))
      }
    }

    /// Any user of the computer can mount under any name, and root presses the tabulator.
    @Test func `umount completes what is mounted, and runs nothing that a name says`() throws {
      try EndToEnd.pair { pair in
        let evil = "a$(touch${IFS}pwned)`touch${IFS}pwned`'\";b:c"
        let other = try pair.b.mount(pair.exporter.code, on: evil)
        let offered = try inBash(pair.b, "p2pfs", "umount", "")
        #expect(offered.contains(pair.mounted.point) && offered.contains(other.point), "\(offered)")
        #expect(try inBash(pair.b, "p2pfs", "umount", pair.mounted.point) == [pair.mounted.point])
        #expect(access(pair.b.home + "/pwned", F_OK) != 0)
      }
    }

    @Test func `a user's script is put where the user's shell looks`() throws {
      try User.make { user in
        try Stage.run { stage in
          let b = try stage.computer("b", user: user)
          for (shell, path, next) in [
            ("bash", ".local/share/bash-completion/completions/p2pfs", "bash"),
            (
              "zsh", ".local/share/zsh/site-functions/_p2pfs",
              "fpath=(\(b.home)/.local/share/zsh/site-functions $fpath)"
            ),
            ("fish", ".config/fish/completions/p2pfs.fish", "fish"),
          ] {
            for _ in 1...2 {
              let outcome = try b.p2pfs("completions", shell, "--install")
              #expect(outcome.status == 0 && outcome.output.isEmpty, "\(outcome)")
              #expect(outcome.errors.contains("\(b.home)/\(path)") && outcome.errors.contains(next), "\(outcome)")
            }
            #expect(contents(of: "\(b.home)/\(path)") == (try b.p2pfs("completions", shell).output))
          }
          #expect(contentsOfDirectory("\(b.home)/.config/fish/completions") == ["p2pfs.fish"])
          // The shells' own search finds them there.
          try b.shell(
            """
            PATH=${P%/*}:$PATH fish -c 'complete -C "p2pfs comp"' | grep -q completions
            zsh -fc 'fpath=(~/.local/share/zsh/site-functions $fpath); autoload -Uz compinit && compinit -D
              test "$_comps[p2pfs]" = _p2pfs'
            """, ["P": stage.directory + "/bin/p2pfs"])
          let moved = try b.p2pfs(
            "completions", "bash", "--install",
            environment: ["XDG_DATA_HOME": b.home + "/data", "BASH_COMPLETION_USER_DIR": b.home + "/own"])
          #expect(moved.errors.contains("\(b.home)/own/completions/p2pfs"), "\(moved)")
          let closed = try b.p2pfs(
            "completions", "fish", "--install", environment: ["XDG_CONFIG_HOME": "/proc/nowhere"])
          #expect(
            closed.status == 1 && closed.errors.contains("/proc/nowhere/fish/completions/p2pfs.fish"), "\(closed)")
        }
      }
    }

    @Test func `root's script is put where all users have it`() throws {
      try Stage.run { stage in
        let b = try stage.computer("b")
        // In a mount namespace of its own, so that nothing of it stays on this computer.
        let found = try b.run(
          [
            "unshare", "-m", "--propagation", "private", "bash", "-euc",
            """
            mkdir -p etc share; mount --bind share /usr/local/share
            test ! -d /etc/fish || mount --bind etc /etc/fish
            for shell in bash zsh fish; do "$P" completions $shell --install 2>/dev/null; done
            find /usr/local/share /etc/fish -name '*p2pfs*' -type f
            """,
          ], environment: ["P": Stage.program])
        #expect(
          found.output.split(separator: "\n").sorted() == [
            "/etc/fish/completions/p2pfs.fish", "/usr/local/share/bash-completion/completions/p2pfs",
            "/usr/local/share/zsh/site-functions/_p2pfs",
          ], "\(found)")
      }
    }

    /// What bash offers for the last of `words`, as when the tabulator is pressed behind it.
    private func inBash(_ computer: Computer, _ words: String...) throws -> [String] {
      let script = """
        "$P" completions bash > .script; source .script; PATH=${P%/*}:$PATH
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
        _p2pfs p2pfs "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" || true
        test ${#COMPREPLY[@]} = 0 || printf '%s\\n' "${COMPREPLY[@]}"
        """
      let outcome = try computer.run(
        ["bash", "-c", script, "bash"] + words, environment: ["P": Stage.program], seconds: 20)
      #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(words): \(outcome)")
      return outcome.output.split(separator: "\n").map(String.init)
    }
  }
}
