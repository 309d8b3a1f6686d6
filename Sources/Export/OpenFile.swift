internal import Glibc
internal import SystemPackage
internal import Synchronization
internal import Wire

/// A file or directory that a peer has open. Closed when the last request that uses it is done.
final class OpenFile: Sendable {
  private let descriptor: Mutex<CInt>
  private let rawValue: CInt
  /// Every write goes to the end.
  let appends: Bool

  /// What the last failed append ended with, and the number of the last request that had arrived then: appends
  /// up to that one were sent in the belief that this one would be done.
  private let failure = Mutex<(error: Errno, through: UInt64)?>(nil)

  init(_ descriptor: consuming Descriptor, appends: Bool) {
    let number = descriptor.release()
    rawValue = number
    self.descriptor = Mutex(number)
    self.appends = appends
  }

  deinit {
    let number = descriptor.withLock { $0 }
    if number >= 0 { _ = Glibc.close(number) }
  }

  /// Its attributes now.
  func attributes() throws(Errno) -> Attributes {
    try withDescriptor { file throws(Errno) in try FileStatus(file).attributes }
  }

  /// The number, valid while the file is held.
  var number: CInt { rawValue }

  /// Calls `body` with the number, which is valid until it returns.
  func withDescriptor<Result>(_ body: (CInt) throws(Errno) -> Result) throws(Errno) -> Result {
    defer { withExtendedLifetime(self) {} }
    return try body(rawValue)
  }

  /// Closes it. No other request uses it meanwhile: requests of one handle that change it run alone.
  /// - Throws: close(2)'s error.
  func close() throws(Errno) {
    let number = descriptor.withLock { number in
      defer { number = -1 }
      return number
    }
    guard number >= 0 else { throw .badFileDescriptor }
    if Glibc.close(number) != 0, errno != EINTR { throw Errno(rawValue: errno) }
  }

  /// Writes all of `data`: at `offset`, or at the end.
  ///
  /// `arrival` numbers this request, `lastArrival` gives the number of the last one that has arrived.
  func write(
    _ data: UnsafeRawBufferPointer, at offset: Int64, arrival: UInt64, lastArrival: () -> UInt64
  ) throws(Errno) {
    // The number is closed with the last reference.
    defer { withExtendedLifetime(self) {} }
    if appends, let failure = failure.withLock({ $0 }), arrival <= failure.through { throw failure.error }
    var done = 0
    while done < data.count {
      let count = pwrite(rawValue, data.baseAddress.map { $0 + done }, data.count - done, off_t(offset) + done)
      if count > 0 {
        done += count
        continue
      }
      let error = count == 0 ? Errno.ioError : Errno(rawValue: errno)
      if error == .interrupted { continue }
      if appends { failure.withLock { $0 = (error, lastArrival()) } }
      throw error
    }
    // A write of nothing still says whether the file may be written.
    if data.isEmpty, pwrite(rawValue, "", 0, off_t(offset)) < 0 { throw Errno(rawValue: errno) }
  }

  /// Reads into `buffer` from `offset` until it is full or the file ends.
  /// - Returns: how many bytes; fewer than fit at the end of the file.
  func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(Errno) -> Int {
    defer { withExtendedLifetime(self) {} }
    var done = 0
    while done < buffer.count {
      let count = pread(rawValue, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset) + done)
      if count == 0 { break }
      if count < 0 {
        if errno == EINTR { continue }
        throw Errno(rawValue: errno)
      }
      done += count
    }
    return done
  }
}
