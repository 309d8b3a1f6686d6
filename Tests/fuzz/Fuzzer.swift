import Glibc

/// Calls the target that `FUZZ_TARGET` in the environment names: one program for all of them, since building it takes
/// longer than running it.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  target(UnsafeBufferPointer(start: bytes, count: count))
  return 0
}

private let target: @Sendable (UnsafeBufferPointer<UInt8>) -> Void = {
  guard let name = getenv("FUZZ_TARGET"), let body = fuzzTargets[String(cString: name)] else {
    fatalError("FUZZ_TARGET names none of \(fuzzTargets.keys.sorted())")
  }
  return body
}()
