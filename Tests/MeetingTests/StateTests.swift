import CP2PFSLinux
import P2PFSCore
import Glibc
import P2PFSPairing
import Rig
import P2PFSSignaling
import SystemPackage
import Testing

@testable import P2PFSMeeting

@Suite struct StateTests {
  @Test func oneProcessAtATimeRemembersAnExport() throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("a/b/state").string
    var first = StateDirectory.claim(path)
    #expect(first != nil)
    #expect(StateDirectory.claim(path) == nil)
    first = nil
    #expect(StateDirectory.claim(path) != nil)
  }

  /// An export that is started again before the one before has ended has its code, port and guests all the same.
  @Test func aSuccessorWaitsForTheOneBefore() async throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("exports/folder").string
    var before = ExportMemory(at: path, patience: 0)
    #expect(before != nil && before?.remembered == nil && before?.port == nil)
    #expect(ExportMemory(at: path, patience: 0.1) == nil)
    let waiting = Task.detached { ExportMemory(at: path, patience: 10) }
    try await Task.sleep(for: .milliseconds(200))
    // What it writes last is what the next one reads.
    var saved = SavedExport(code: "482153-lusab-babad", token: [1])
    saved.port = 12_000
    try StateDirectory.write(saved.text, to: path)
    before = nil
    let next = await waiting.value
    #expect(next?.remembered == saved && next?.port == 12_000)
  }

  @Test func thePortsWhereGuestsLookForAnExportAreKnown() throws {
    let place = try TemporaryDirectory()
    let directory = place.path.appending("exports").string
    #expect(SavedExport.portsOfGuests(in: directory).isEmpty)
    let guest = SavedExport.Guest(
      identity: [UInt8](repeating: 9, count: 16), resumption: [UInt8](repeating: 7, count: 32))
    for (name, port, guests) in [
      ("one", 11_985, [guest]), ("two", 11_987, [guest, guest]), ("empty", 11_986, []), ("odd", 70_000, [guest]),
      ("none", nil, [guest]), ("x.new", 11_988, [guest]),
    ] as [(String, Int?, [SavedExport.Guest])] {
      var saved = SavedExport(code: "482153-lusab-babad", token: [1])
      (saved.port, saved.guests) = (port, guests)
      try StateDirectory.write(saved.text, to: directory + "/" + name)
    }
    mkdir(directory + "/one.journals", 0o700)
    #expect(SavedExport.portsOfGuests(in: directory) == [11_985, 11_987])
  }

  @Test func whatIsSavedIsReadAgainAndBelongsToTheUserAlone() throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("exports/folder").string
    var saved = SavedExport(code: "482153-lusab-babad", token: [1, 0xfe])
    saved.wrongAttempts = 3
    saved.port = 11985
    saved.guests = [.init(identity: [UInt8](repeating: 9, count: 16), resumption: [UInt8](repeating: 7, count: 32))]
    try StateDirectory.write(saved.text, to: path)
    #expect(StateDirectory.read(path).flatMap(SavedExport.init(parsing:)) == saved)
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    chmod(path, 0o644)
    #expect(StateDirectory.read(path) == nil)
  }

  @Test func `a task that is started again has the code, the token, the port and the guesses of last time`() throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("transfers/send").string
    let code = Code.random()
    var first = SavedTask(at: path)
    #expect(first != nil)
    #expect(first?.code == nil && first?.port == nil && first?.attemptsLeft == nil)
    first?.note(code, port: 11986)
    first?.note(attemptsLeft: 7)
    let token = first?.token
    // The same twice at once: the second one has a code of its own.
    #expect(SavedTask(at: path) == nil)
    first = nil
    var second = SavedTask(at: path)
    #expect(second != nil)
    #expect(second?.code == code && second?.token == token && second?.port == 11986 && second?.attemptsLeft == 7)
    // A code that was replaced has all its guesses.
    let other = Code.random()
    second?.note(other, port: nil)
    second = nil
    var third = SavedTask(at: path)
    #expect(third != nil)
    #expect(third?.code == other && third?.attemptsLeft == Limits.Pairing.attempts && third?.port == nil)
    third?.forget()
    third = nil
    #expect(SavedTask(at: path)?.code == nil)
  }

  @Test func `a code without guesses left is not used again, nor one of days ago`() throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("transfers/send").string
    SavedTask(at: path).map { task in
      task.note(.random(), port: nil)
      task.note(attemptsLeft: 0)
    }
    #expect(SavedTask(at: path)?.code == nil)
    SavedTask(at: path)?.note(.random(), port: nil)
    #expect(SavedTask(at: path)?.code != nil)
    var old = [timespec(tv_sec: 1_000_000, tv_nsec: 0), timespec(tv_sec: 1_000_000, tv_nsec: 0)]
    #expect(utimensat(AT_FDCWD, path, &old, 0) == 0)
    #expect(SavedTask(at: path)?.code == nil)
  }

  @Test func `a claim of a file that its owner removed is a claim of the new one`() throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("state").string
    let first = StateDirectory.claim(path)
    StateDirectory.forget(path)
    // Another file by now, which the first claim says nothing of.
    let second = StateDirectory.claim(path)
    #expect(first != nil && second != nil)
    #expect(StateDirectory.claim(path) == nil)
  }

  @Test(arguments: ["", "code x", "token 00", "code a b\ntoken 00", "code x\ntoken 0g"])
  func whatIsNotASavedExportIsNone(text: String) {
    #expect(SavedExport(parsing: text) == nil)
  }
}
