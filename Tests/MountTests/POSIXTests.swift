import Rig
import Testing

@Suite(.onThreads) struct POSIXTests {
  @Test(arguments: POSIXCase.all) func `a plain directory does`(_ promise: POSIXCase) throws {
    let directory = try TemporaryDirectory()
    try withExtendedLifetime(directory) { try promise.run(in: directory.path) }
  }

  @Test(arguments: POSIXCase.all) func `a mount does`(_ promise: POSIXCase) async throws {
    let share = try await MountedShare()
    try withExtendedLifetime(share) { try promise.run(in: share.path) }
  }
}
