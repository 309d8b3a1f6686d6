import Rig
import Testing

@Suite(.serialized) struct POSIXTests {
  @Test(arguments: POSIXCase.all) func `a plain directory does`(_ promise: POSIXCase) throws {
    try promise.run(in: try TemporaryDirectory().path)
  }

  @Test(arguments: POSIXCase.all) func `a mount does`(_ promise: POSIXCase) async throws {
    let share = try await MountedShare()
    try promise.run(in: share.path)
  }
}
