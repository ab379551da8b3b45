"""Which addresses a fetch may reach.

Source: the IANA special-purpose address registries for IPv4 and IPv6 (RFC 6890 and later entries). The tables stand
here because those of the standard library differ from one Python to the next.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

PUBLIC = "public"
OWN = frozenset({PUBLIC, "private", "loopback", "shared"})  # where an own image server may be
IPV6_GLOBAL = IPv6Network("2000::/3")  # all that is routed; what embeds an IPv4 address is outside it or listed

# The first entry that holds an address names it: single addresses of metadata services before their networks.
_KINDS = {
    "metadata": (
        *("169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32", "100.100.100.200/32", "168.63.129.16/32"),
        *("192.0.0.192/32", "fd00:ec2::/32", "fd20:ce::254/128"),
    ),
    "unspecified": ("0.0.0.0/8", "::/128"),
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
    "shared": ("100.64.0.0/10",),  # carrier-grade NAT; overlay networks use it too
    "link_local": ("169.254.0.0/16", "fe80::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "ipv4_mapped": ("::ffff:0:0/96",),
    "nat64": ("64:ff9b::/96", "64:ff9b:1::/48"),
    "6to4": ("2002::/16", "192.88.99.0/24"),
    "teredo": ("2001::/32",),
    "site_local": ("fec0::/10",),
    "reserved": (
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4"),
        *("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20"),
    ),
}
_NETWORKS = tuple((kind, ip_network(text)) for kind, texts in _KINDS.items() for text in texts)


def kind_of(address: str) -> str:
    """What an address is: ``public``, or the name of the rule that keeps it from being so.

    >>> kind_of("1.1.1.1"), kind_of("10.0.0.7"), kind_of("::ffff:127.0.0.1"), kind_of("fe80::1%eth0")
    ('public', 'private', 'ipv4_mapped', 'link_local')

    Raises:
        ValueError: It is no address.
    """
    parsed = ip_address(address.partition("%")[0])
    for kind, network in _NETWORKS:
        if parsed in network:
            return kind
    if isinstance(parsed, IPv6Address) and (parsed not in IPV6_GLOBAL or _is_isatap(parsed)):
        return "reserved"
    return PUBLIC


def address_in(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, if it is one in its usual form; None for names."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _is_isatap(address: IPv6Address) -> bool:
    """Whether the lower half says that an IPv4 address is tunnelled in it (RFC 5214, section 6.1)."""
    return (int(address) >> 32) & 0xFCFFFFFF == 0x00005EFE
