"""What learned personas say: do they fit the person (`fidelity`), and along which axes do they describe people?"""
