"""The air between Bluetooth LE controllers that are outside of any virtual machine, with bumble of PyPI.

    bluetooth_air.py DIR N     controllers at the Unix sockets DIR/0 to DIR/N-1, as if at a serial port;
                               DIR/air takes datagrams: "far 0 1" out of range of each other, "near 0 1";
                               "strangers 20": so many say something as nodes do, each second

Out of range nothing is heard any more, and a link ends after a fixed two seconds or so (what the two ends
agreed about that is not modelled). LE only.
"""
import asyncio
import os
import socket
import sys
import time

from bumble import controller, hci, link, ll
from bumble.transport import open_transport

# After how long a link ends of which nothing is heard.
LOST_AFTER_S = 2.0
# What a node says is ten bytes under this.
SERVICE = bytes.fromhex("1a78a0c3cfd44b99a7e5817b1874be6c")[::-1]


class Air(link.LocalLink):
    def __init__(self):
        super().__init__()
        self.far, self.number, self.strangers = set(), {}, 0

    def is_near(self, a, b):
        return frozenset((self.number.get(a), self.number.get(b))) not in self.far

    def send_advertising_pdu(self, sender, packet):
        for other in self.controllers:
            if other is not sender and self.is_near(other, sender):
                asyncio.get_running_loop().call_soon(other.on_ll_advertising_pdu, packet)

    def send_acl_data(self, sender, destination, transport, data):
        other = self.find_le_controller(destination)
        # From the address that the link was made with: Linux connects from a random one.
        connection = sender.le_connections.get(destination)
        if other and connection and self.is_near(sender, other):
            asyncio.get_running_loop().call_soon(
                other.on_link_acl_data, connection.self_address, transport, data)

    def send_ll_control_pdu(self, sender_address, receiver_address, packet):
        one, other = self.find_le_controller(sender_address), self.find_le_controller(receiver_address)
        if other is None or (one and not self.is_near(one, other)):
            return
        super().send_ll_control_pdu(sender_address, receiver_address, packet)

    def other_end(self, connection):
        """Whose the same connection is: its address may be another by now."""
        for other in self.controllers:
            for theirs in other.le_connections.values():
                if theirs.self_address == connection.peer_address:
                    return other
        return None

    async def end_lost_links(self):
        since = {}
        while True:
            await asyncio.sleep(0.5)
            # Found before any is ended: the other end of one that has ended is nobody's.
            lost = []
            for one in list(self.controllers):
                for connection in list(one.le_connections.values()):
                    other, key = self.other_end(connection), (id(one), connection.handle)
                    if other is not None and self.is_near(one, other):
                        since.pop(key, None)
                    elif time.time() - since.setdefault(key, time.time()) > LOST_AFTER_S:
                        since.pop(key, None)
                        lost.append((one, connection))
            for one, connection in lost:
                one.on_le_disconnected(connection, hci.HCI_CONNECTION_TIMEOUT_ERROR)

    async def speak_as_strangers(self):
        """They come and go: each says the same under one address for a minute."""
        said, minute = [], None
        while True:
            if minute != time.time() // 60 or len(said) != self.strangers:
                minute = time.time() // 60
                said = [(os.urandom(5) + b"\x40", b"\x1b\x21" + SERVICE + os.urandom(10)) for _ in range(self.strangers)]
            for address, data in said:
                packet = ll.AdvInd(hci.Address(address, hci.Address.RANDOM_DEVICE_ADDRESS), data)
                self.send_advertising_pdu(None, packet)
                await asyncio.sleep(1 / len(said))
            if not said:
                await asyncio.sleep(0.5)


class Controller(controller.Controller):
    acl_data_packet_length = 251
    le_acl_data_packet_length = 251

    def send_hci_packet(self, packet):
        """A host that takes the enhanced event for a connection gets that one: Linux waits for it, for twenty
        seconds, and does nothing else with the controller until then."""
        enhanced = hci.HCI_LE_Enhanced_Connection_Complete_Event
        if (isinstance(packet, hci.HCI_LE_Connection_Complete_Event)
                and self.le_event_mask >> enhanced.subevent_code - 1 & 1):
            packet = enhanced(
                **{name: getattr(packet, name) for name in (
                    "status", "connection_handle", "role", "peer_address_type", "peer_address", "connection_interval",
                    "peripheral_latency", "supervision_timeout", "central_clock_accuracy")},
                local_resolvable_private_address=hci.Address.ANY, peer_resolvable_private_address=hci.Address.ANY)
        super().send_hci_packet(packet)


async def main(folder, count):
    air, kept = Air(), []
    for n in range(count):
        transport = await open_transport(f"unix-server:{folder}/{n}")
        address = hci.Address(f"C0:DE:00:00:00:{n:02X}", hci.Address.PUBLIC_DEVICE_ADDRESS)
        one = Controller(f"C{n}", host_source=transport.source, host_sink=transport.sink, link=air,
                         public_address=address)
        air.number[one] = n
        kept += [transport, one]
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(folder + "/air")
    told.setblocking(False)

    def take():
        word, *numbers = told.recv(1000).decode().split()
        if word == "strangers":
            air.strangers = int(numbers[0])
        else:
            (air.far.add if word == "far" else air.far.discard)(frozenset(map(int, numbers)))

    asyncio.get_running_loop().add_reader(told, take)
    print("ready", flush=True)
    await asyncio.gather(air.end_lost_links(), air.speak_as_strangers())


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
