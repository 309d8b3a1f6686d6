import CP2PFSNice
import P2PFSCore
import Glibc

/// The datagrams of one turn of the transport thread in one buffer, so that runs of equal length can be sent by one
/// system call.
struct DatagramBatch: ~Copyable {
  private(set) var bytes: UnsafeMutableRawBufferPointer
  private(set) var used = 0
  private(set) var lengths: [Int] = []

  init() { bytes = .allocate(byteCount: 131_072, alignment: 64) }
  deinit { bytes.deallocate() }

  var isEmpty: Bool { lengths.isEmpty }
  /// Whether it should be sent before more is added.
  var isFull: Bool { used >= Limits.Transport.segments }

  mutating func add(_ datagram: UnsafeRawBufferPointer) {
    if used + datagram.count > bytes.count {
      let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count * 2, alignment: 64)
      memcpy(larger.baseAddress!, bytes.baseAddress!, used)
      bytes.deallocate()
      bytes = larger
    }
    memcpy(bytes.baseAddress! + used, datagram.baseAddress!, datagram.count)
    used += datagram.count
    lengths.append(datagram.count)
  }

  mutating func removeAll() {
    used = 0
    lengths.removeAll(keepingCapacity: true)
  }

  /// Removes the first `count` datagrams.
  mutating func removeFirst(_ count: Int) {
    let gone = lengths[..<count].reduce(0, +)
    memmove(bytes.baseAddress!, bytes.baseAddress! + gone, used - gone)
    used -= gone
    lengths.removeFirst(count)
  }

  /// Calls `send` for each datagram, in order.
  func forEach(_ send: (UnsafeRawBufferPointer) -> Void) {
    var offset = 0
    for length in lengths {
      send(UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + length]))
      offset += length
    }
  }
}

/// The socket of a selected direct pair, with the peer's address.
final class DirectSocket {
  private let socket: UnsafeMutablePointer<GSocket>  // our own reference: libnice may release its
  private let descriptor: Int32
  private var address: [UInt8]
  private var segments = true
  /// Whether the kernel refused the last datagram: our address is gone, or there is no route.
  private(set) var isFailing = false

  /// Takes ownership of a reference to the socket.
  init(_ socket: UnsafeMutablePointer<GSocket>, to address: [UInt8]) {
    self.socket = socket
    descriptor = g_socket_get_fd(socket)
    self.address = address
    p2pfs_prepare_socket(descriptor, 4_194_304)
  }

  deinit { g_object_unref(socket) }

  /// Largest UDP payload in bytes that the route's MTU allows, at most that of Ethernet: a larger local MTU says nothing
  /// about the rest of the path.
  var payload: Int {
    let isIPv6 = address.count > 16
    let mtu = Int(p2pfs_route_mtu(address, UInt32(address.count)))
    return min(mtu > 0 ? mtu : 1_280, 1_500) - (isIPv6 ? 48 : 28)
  }

  /// Sends the batch. Datagrams that the kernel has no room for stay in it.
  /// - Returns: whether the batch is empty now.
  func send(_ batch: inout DatagramBatch) -> Bool {
    var index = 0
    var offset = 0
    let count = batch.lengths.count
    while index < count {
      // A run: datagrams of one length, the last of which may be shorter.
      let segment = batch.lengths[index]
      var end = index + 1
      var total = segment
      while segments, end < count, end - index < Limits.Transport.segmentCount, batch.lengths[end] <= segment,
        total + batch.lengths[end] <= Limits.Transport.segments
      {
        total += batch.lengths[end]
        end += 1
        if batch.lengths[end - 1] < segment { break }
      }
      let error = p2pfs_send_segments(
        descriptor, address, UInt32(address.count), batch.bytes.baseAddress! + offset, total, segment)
      switch error {
      case EAGAIN, ENOBUFS:
        batch.removeFirst(index)
        return false
      case EINVAL, EIO, EMSGSIZE:
        // No segmentation on this route (old kernel, fragments needed): send one by one from now on. A single datagram
        // that fails is lost: our address may be gone.
        if end - index > 1 {
          segments = false
          continue
        }
        isFailing = true
      case 0: isFailing = false
      default: isFailing = true  // lost, as any datagram may be
      }
      index = end
      offset += total
    }
    batch.removeAll()
    return true
  }
}
