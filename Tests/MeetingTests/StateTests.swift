import CP2PFSLinux
import Glibc
import Rig
import SystemPackage
import Testing

@testable import P2PFSMeeting

@Suite(.onThreads) struct StateTests {
  @Test func oneProcessAtATimeRemembersAnExport() throws {
    let place = try TemporaryDirectory()
    let path = place.path.appending("a/b/state").string
    var first = StateDirectory.claim(path)
    #expect(first != nil)
    #expect(StateDirectory.claim(path) == nil)
    first = nil
    #expect(StateDirectory.claim(path) != nil)
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

  @Test(arguments: ["", "code x", "token 00", "code a b\ntoken 00", "code x\ntoken 0g"])
  func whatIsNotASavedExportIsNone(text: String) {
    #expect(SavedExport(parsing: text) == nil)
  }
}
