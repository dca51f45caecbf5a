"""How arrays are computed: in pieces, on all cores, in stripes. It knows no nets."""
