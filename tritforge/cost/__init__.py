"""Energy and area: counted events and generated cells, times published figures."""
