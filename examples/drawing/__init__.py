"""The drawings behind the example pictures, and the surface that they are painted on."""
