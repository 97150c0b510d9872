"""The recap command line."""
