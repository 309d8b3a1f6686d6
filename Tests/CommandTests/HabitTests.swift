import ArgumentParser
import P2PFSCore
import P2PFSPairing
import Testing

@testable import p2pfs

/// What people type by habit, and what they mistype.
@Suite struct HabitTests {
  private func mount(_ arguments: String...) throws -> MountCommand {
    try #require(try P2PFSCommand.parseAsRoot(Habits.rewritten(["mount"] + arguments)) as? MountCommand)
  }

  @Test func `mount options are taken as mount and sshfs take them`() throws {
    #expect(try mount("-oro", "code", "mnt").options == ["ro"])
    #expect(try mount("code", "mnt", "-oro,noatime").options == ["ro,noatime"])
    #expect(
      try mount("-o", "ro", "code", "-o", "uid=7,gid=8", "mnt", "-onoexec").options == ["ro", "uid=7,gid=8", "noexec"])
    #expect(try mount("-oro,fsname=a b,x-y=z", "code", "mnt").options == ["ro,fsname=a b,x-y=z"])
    #expect(Habits.rewritten(["send", "-ofile"]) == ["send", "-ofile"])
    let command = try mount("code", "mnt", "--signal=host:1", "-f", "--read-only")
    #expect(command.signal == "host:1" && command.foreground && command.readOnly && command.places == ["code", "mnt"])
  }

  @Test(
    arguments: [
      (["mount", "-p", "22", "code", "mnt"], "'-p'", "CODE@HOST:PORT"),
      (["mount", "-p22", "code", "mnt"], "'-p", "CODE@HOST"),
      (["mount", "-C", "code", "mnt"], "'-C'", "compressed"), (["mount", "-r", "code", "mnt"], "'-r'", "--read-only"),
      (["mount", "code", "mnt", "-i", "key"], "'-i'", "the code"), (["umount", "-f", "mnt"], "'-f'", "--lazy"),
      (["export", ".", "-p", "1"], "'-p'", "--signal"), (["send", "-r", "dir"], "'-r'", "whole"),
      (["forward", "code", "-p", "22", "-L", "1:a:1"], "'-p'", "CODE@HOST:PORT"),
      (["pipe", "--server=x"], "'--server'", "--signal"),
    ])
  func `an option of another program is explained`(_ arguments: [String], _ option: String, _ instead: String) throws {
    let error = try #require(throws: (any Error).self) { try P2PFSCommand.parseAsRoot(arguments) }
    let message = P2PFSCommand.fullMessage(for: error)
    let hint = try #require(P2PFSCommand.hint(message, arguments[0]), "\(message)")
    let first = try #require(hint.split(separator: "\n").first)
    #expect(first.contains("Unknown option \(option)") && first.contains(instead), "\(hint)")
    #expect(hint.contains("Usage: p2pfs \(arguments[0])"))
  }

  @Test func `of an option that nothing is known of, ArgumentParser's word stands`() throws {
    let error = try #require(throws: (any Error).self) {
      try P2PFSCommand.parseAsRoot(["mount", "--frob=1", "a", "b"])
    }
    let message = P2PFSCommand.fullMessage(for: error)
    #expect(message.contains("Unknown option '--frob'") && P2PFSCommand.hint(message, "mount") == nil)
  }

  @Test(
    arguments: [
      ("exprot", "export"), ("exporrt", "export"), ("EXPORT", "export"), ("recieve", "receive"), ("sned", "send"),
      ("mout", "mount"), ("umonut", "umount"), ("pip", "pipe"), ("foward", "forward"), ("share", "export"),
      ("connect", "mount"),
    ])
  func `a mistyped command is told which one was meant`(_ typed: String, _ meant: String) throws {
    let failure = try #require(throws: Failure.self) { try P2PFSCommand.expectCommand(typed) }
    #expect(
      failure.status == .usage && failure.message.contains("Did you mean \"p2pfs \(meant)\"?"), "\(failure.message)")
  }

  @Test func `a command unlike any is told to be none, without what may be a secret`() throws {
    let failure = try #require(throws: Failure.self) { try P2PFSCommand.expectCommand("482153-lusab-babad\u{1b}") }
    #expect(!failure.message.contains("Did you mean") && !failure.message.contains("lusab"))
    #expect(!failure.message.contains("\u{1b}"))
    for word in [nil, "--help", "mount", "unmount", "help"] { try P2PFSCommand.expectCommand(word) }
  }

  @Test func `unmount is umount`() throws {
    #expect(try P2PFSCommand.parseAsRoot(["unmount", "mnt", "-l"]) is UmountCommand)
  }

  @Test func `files that are named like parts of a code stay what they are`() {
    #expect(Habits.joiningCodes(["send", "482153", "lusab", "babad"]) == ["send", "482153", "lusab", "babad"])
    #expect(Habits.joiningCodes(["send", "f", "--to", "482153", "lusab", "babad"]).last == "482153 lusab babad")
    #expect(Habits.joiningCodes(["export", "482153", "lusab", "babad"]).count == 4)
    #expect(Habits.joiningCodes(["receive", "482153", "lusab", "babad"]) == ["receive", "482153 lusab babad"])
  }

  @Test(arguments: [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("kitten", "sitting", 3), ("send", "send", 0)])
  func distances(_ one: String, _ other: String, _ count: Int) {
    #expect(Habits.distance(Array(one.utf8), Array(other.utf8)) == count)
    #expect(Habits.distance(Array(other.utf8), Array(one.utf8)) == count)
  }
}
